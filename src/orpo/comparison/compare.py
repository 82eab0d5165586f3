"""One comparison, top to bottom."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from orpo.comparison.assess import assess_all
from orpo.comparison.evidence import Evidence
from orpo.comparison.figures import all_measures
from orpo.comparison.page import as_page
from orpo.comparison.plan import JUDGE, RUNS, STARTS, Plan
from orpo.comparison.record import Findings, as_record, find
from orpo.comparison.runs import LOGS, train_all
from orpo.comparison.winrates import WinRates, judged
from orpo.credentials import redact
from orpo.errors import ConfigError
from orpo.evaluation.embedders import load_embedder
from orpo.files import replace_file
from orpo.interruption import listening
from orpo.judging.reward.judge import reward_judge
from orpo.ops.distributed import join_world
from orpo.rundir import locked, writing
from orpo.rundir.directory import require_directory

log = logging.getLogger(__name__)

RECORD, PAGE, JUDGEMENTS = "comparison.json", "report.html", "judgements"

_OURS = {RUNS, STARTS, JUDGE, LOGS, RECORD}
"""What an output holds in which a comparison was begun."""


def compare(plan: Plan, *, command: str, console: Console | None) -> Findings:
    """Train, evaluate and judge what a plan asks for, as far as it is not done, and write the results.

    Args:
        plan: what is compared.
        command: for the records.
        console: where to show progress; None shows none.

    Raises:
        OrpoError: anything that the user can act on; see `orpo.errors`.
        Interrupted: what was done is kept, and the same call goes on.
    """
    _require_usable(plan.output)
    with listening(), locked(plan.output):
        failures = train_all(plan, console)
        evidence = assess_all(plan, failures, command, console)
        section = plan.section.evaluation
        with join_world() as world:
            embedder = load_embedder(section.embedder, world.device) if section.samples > 1 else None
        measures = all_measures(evidence, embedder)
        wins = _judge(evidence)
        found = find(
            evidence,
            measures,
            wins,
            embedder=embedder.name if embedder is not None else None,
            command=command,
            versions=_versions(evidence),
        )
        _write(found)
    return found


def _require_usable(output: Path) -> None:
    """Refuse a place that holds anything else than a comparison.

    Raises:
        ConfigError: it is a file, below one, or a directory of something else.
    """
    require_directory(output)
    names = {item.name for item in output.iterdir()} if output.is_dir() else set[str]()
    if any(not name.startswith("run.lock") for name in names) and not names & _OURS:
        raise ConfigError(
            f"output: {output} already holds files, and no comparison",
            hint="Nothing was overwritten. Choose another directory with output=PATH.",
        )


def _judge(evidence: Evidence) -> WinRates | None:
    plan = evidence.plan
    if plan.section.judge is None:
        return None
    name = plan.section.judge.model if plan.judge is None else str(plan.judge.path)
    assert name is not None
    log.info("judging the responses of %d systems", len(evidence.compared))
    judge = reward_judge(name, held_out=_held_out(plan), progress=lambda done, total: None)
    return judged(evidence, judge, judge.fitness.assessment, plan.output / JUDGEMENTS)


def _held_out(plan: Plan) -> str | None:
    """Pairs to measure a judge on that was not trained here, where one word says where they are."""
    eval_ = plan.run.data.eval
    assert isinstance(eval_, tuple)
    is_plain = len(eval_) == 1 and eval_[0].model_dump(exclude_defaults=True).keys() == {"path"}
    return eval_[0].path if plan.judge is None and is_plain else None


def _versions(evidence: Evidence) -> dict[str, str]:
    trained = next(one for seeds in evidence.trained.values() for one in seeds.values())
    return trained.phases[-1].definition.versions


def _write(found: Findings) -> None:
    output = found.evidence.plan.output
    record: dict[str, Any] = as_record(found)
    text = redact(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False))
    with writing(output):
        replace_file(output / RECORD, (text + "\n").encode())
        replace_file(output / PAGE, as_page(found).encode("utf-8", "backslashreplace"))
