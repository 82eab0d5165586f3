"""What `orpo eval` found out about runs, arranged for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orpo.report.charts import spread
from orpo.report.run import Run
from orpo.rundir.evaluations import (
    DiversityEvaluation,
    Evaluation,
    EvaluationRecord,
    Figure,
    GenerationEvaluation,
    PairFigures,
    ResponseRow,
)

PROMPTS = 6
"""Whose responses are shown, evenly chosen from all."""

MORE_SAMPLES = 3
"""Of a prompt that are folded away behind the first."""

PAIRS: Mapping[str, str] = {
    "accuracy": "pair accuracy",
    "margin": "margin",
    "log_odds": "log odds ratio",
    "logps_chosen": "log-probability, chosen",
    "logps_rejected": "log-probability, rejected",
    "rewards_chosen": "reward, chosen",
    "rewards_rejected": "reward, rejected",
}
"""Figures of pairs; those that a kind of model has not are left out."""


@dataclass(frozen=True)
class Part:
    """Some of the pairs."""

    name: str
    pairs: int
    figures: Mapping[str, Figure]
    """By title."""


@dataclass(frozen=True)
class Answer:
    """What one run says to a prompt."""

    run: Run
    first: ResponseRow
    others: tuple[ResponseRow, ...]
    """Further samples."""


@dataclass(frozen=True)
class Asked:
    """A prompt, and what the runs say to it."""

    instruction: str
    answers: tuple[Answer, ...]


def pair_parts(record: EvaluationRecord) -> list[Part]:
    """All pairs first, then those of each source if there are several, and by length."""
    pairs = record.pairs
    if pairs is None:
        return []
    sources = pairs.by_source if len(pairs.by_source) > 1 else ()
    return [
        _part("all pairs", pairs),
        *(_part(f"source {one.name}", one) for one in sources),
        *(
            _part(f"longer response of {one.bounds[0]} to {one.bounds[1]} tokens", one)
            for one in pairs.by_length
        ),
    ]


def response_figures(record: EvaluationRecord) -> dict[str, Figure]:
    """What became of the prompts, and how alike the responses are, by title."""
    found: dict[str, Figure | None] = {}
    if record.generation is not None:
        found |= _generation(record.generation)
    if record.diversity is not None:
        found |= _diversity(record.diversity)
    return {title: figure for title, figure in found.items() if figure is not None}


def all_figures(record: EvaluationRecord) -> dict[str, Figure]:
    """The figures that runs are compared by, by title."""
    parts = pair_parts(record)[:1]
    return {**(parts[0].figures if parts else {}), **response_figures(record)}


def cautions(runs: Sequence[Run]) -> Iterator[str]:
    """Why figures of these runs' evaluations may not be compared, in words."""
    records = [run.evaluation.record for run in runs if run.evaluation is not None]
    if len(records) < 2:
        return
    for what, used in (
        ("pairs", [record.data.pairs for record in records]),
        ("prompts", [record.data.prompts for record in records]),
    ):
        if any(one != used[0] for one in used):
            yield f"The runs were not evaluated on the same {what}: figures of {what} may not be compared."
    settings = [record.settings for record in records]
    keys = {key for one in settings for key in one}
    if differing := sorted(key for key in keys if len({repr(one.get(key)) for one in settings}) > 1):
        yield f"The evaluations differ in their settings: {', '.join(differing)}."


def side_by_side(runs: Sequence[Run]) -> list[Asked]:
    """What the runs say to some of the prompts that all of those asked were asked."""
    samples = {
        run.label: _samples(run.evaluation)
        for run in runs
        if run.evaluation is not None and run.evaluation.responses
    }
    if not samples:
        return []
    first, *rest = samples.values()
    shared = [instruction for instruction in first if all(instruction in one for one in rest)]
    return [
        Asked(
            instruction,
            tuple(
                Answer(run, rows[0], tuple(rows[1 : MORE_SAMPLES + 1]))
                for run in runs
                if run.label in samples
                for rows in [samples[run.label][instruction]]
            ),
        )
        for instruction in spread(shared, PROMPTS)
        if shared
    ]


def _samples(evaluation: Evaluation) -> dict[str, list[ResponseRow]]:
    """The responses of each prompt; of several with the same words those of the first."""
    found: dict[str, list[ResponseRow]] = {}
    for row in evaluation.responses:
        rows = found.setdefault(row.instruction, [row])
        if rows[0].prompt_index == row.prompt_index and rows[-1] is not row:
            rows.append(row)
    return found


def _part(name: str, figures: PairFigures) -> Part:
    found = {title: getattr(figures, key) for key, title in PAIRS.items()}
    return Part(name, figures.count, {title: figure for title, figure in found.items() if figure is not None})


def _generation(found: GenerationEvaluation) -> dict[str, Figure | None]:
    return {
        "share cut off at the limit": found.truncated,
        "share without text": found.empty,
        "mean tokens": found.mean_tokens,
        "mean characters": found.mean_characters,
    }


def _diversity(found: DiversityEvaluation) -> dict[str, Figure | None]:
    return {
        "similarity per input": found.per_input,
        "similarity across inputs": found.across_inputs,
        **{f"distinct-{n}": figure for n, figure in found.distinct_n.items()},
        "self-BLEU": found.self_bleu,
    }
