"""The evaluation of a model behind an API: what it responds, and nothing of its probabilities."""

from __future__ import annotations

import torch
from rich.console import Console

from orpo.chat.service import connected
from orpo.errors import ConfigError
from orpo.evaluation.embedders import load_embedder
from orpo.run.evaluation.prompts import prompts_in
from orpo.run.evaluation.record import begun, conclude
from orpo.run.evaluation.request import NEW_TOKENS, EvaluationRequest
from orpo.run.evaluation.served import (
    fetch_responses,
    require_all,
    sampling_parameters,
    served_prompts,
    served_settings,
)
from orpo.rundir.evaluations import Data, EvaluationDirectory, Subject


def evaluate_server(
    request: EvaluationRequest, directory: EvaluationDirectory, device: torch.device, console: Console | None
) -> None:
    """Have the responses made elsewhere, and write what there is to say of them.

    Args:
        request: what is asked; of a service.
        directory: of the evaluation.
        device: where an embedder goes.
        console: where to show progress; None shows none.

    Raises:
        OrpoError, Interrupted: see `orpo.run.evaluate`.
    """
    service = request.service
    assert service is not None
    if request.prompts is None or request.pairs is not None or not request.samples:
        raise ConfigError(
            "--url: a server generates responses to prompts, and scores no pairs",
            hint="Name prompts with --prompts FILE, and leave out --pairs.",
        )
    prompts, used = served_prompts(prompts_in(request.prompts), request.max_prompts)
    embedder = load_embedder(request.embedder, device) if request.samples > 1 else None
    defaults = sampling_parameters(
        request.max_new_tokens or NEW_TOKENS, request.temperature, request.top_p, request.seed
    )
    with connected(service, defaults) as asker:
        settings = served_settings(asker, prompts, samples=request.samples)
        settings["embedder"] = request.embedder if embedder is not None else None
        of = Subject(
            kind="server",
            name=service.model,
            path=None,
            url=asker.api.url,
            step=None,
            revision=None,
            fingerprint=None,
        )
        data = Data(pairs=None, prompts=used)
        opened = begun(directory, of, settings, data, request.command, overwrite=request.overwrite)
        with opened as record:
            if record is None:
                return
            failed = fetch_responses(asker, prompts, directory, samples=request.samples, console=console)
            datasets = {prompt.index: prompt.dataset for prompt in prompts}
            conclude(
                directory,
                record,
                datasets,
                samples=request.samples,
                embedder=embedder,
                account=asker.account,
            )
    require_all(failed, directory)
