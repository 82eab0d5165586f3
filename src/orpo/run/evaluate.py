"""One evaluation: of a model in this process, or behind an API."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from orpo.errors import ConfigError
from orpo.interruption import listening
from orpo.ops.distributed import join_world
from orpo.run.evaluation.local import evaluate_model
from orpo.run.evaluation.request import EvaluationRequest
from orpo.run.evaluation.server import evaluate_server
from orpo.run.evaluation.subject import is_run
from orpo.rundir.evaluations import RUN_EVALUATION, EvaluationDirectory

__all__ = ["EvaluationRequest", "evaluate"]

EVALUATIONS = Path("evaluations")
"""Where evaluations of models that are no runs go."""


def evaluate(request: EvaluationRequest, *, console: Console | None = None) -> Path:
    """Evaluate a model on pairs, and on prompts that it responds to.

    A call with the same request goes on where an earlier one has ended.

    Args:
        request: what is asked.
        console: where to show progress; None shows none.

    Returns:
        The directory of the evaluation; `orpo.rundir.evaluations.read_evaluation` reads it.

    Raises:
        OrpoError: anything that the user can act on; see `orpo.errors`.
        Interrupted: asked to end; the same request goes on.
    """
    _check(request)
    directory = EvaluationDirectory(_output(request))
    directory.require_usable()
    with listening(), join_world() as world:
        if world.size > 1:
            raise ConfigError(
                f"an evaluation is one process, and WORLD_SIZE is {world.size}",
                hint="Start it without torchrun.",
            )
        if request.service is None:
            evaluate_model(request, directory, world, console)
        else:
            evaluate_server(request, directory, world.device, console)
    return directory.path


def _check(request: EvaluationRequest) -> None:
    if request.samples > 1 and request.temperature == 0:
        raise ConfigError(
            f"{request.samples} samples at temperature 0 would all be the same",
            hint="Set a temperature above 0, such as 1.",
        )
    if (
        request.service is None
        and is_run(request.target)
        and (request.template != "auto" or request.revision is not None)
    ):
        raise ConfigError(
            "a run is evaluated with its own model and template",
            hint="Leave out --template and --revision, or evaluate its model/ in place of the run.",
        )


def _is_of_run(request: EvaluationRequest) -> bool:
    return request.service is None and is_run(request.target)


def _output(request: EvaluationRequest) -> Path:
    if request.output is not None:
        return request.output.expanduser()
    if _is_of_run(request):
        return Path(request.target).expanduser() / RUN_EVALUATION
    name = re.sub(r"[^\w.-]+", "-", request.target).strip("-.")
    return EVALUATIONS / (name or "model")
