"""Several runs beside each other: what may be compared, and what they do not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from orpo.report.run import Run
from orpo.rundir.records import Source


@dataclass(frozen=True)
class Difference:
    """Something that not all runs share."""

    what: str
    values: tuple[str, ...]
    """In the order of the runs."""


@dataclass(frozen=True)
class Comparison:
    """What several runs share and do not share."""

    held_out: Mapping[str, int]
    """Label of a run -> number of its held-out data, from 1 on; 0 is none.  Equal numbers are equal data."""

    cautions: tuple[str, ...]
    """What is not to be compared, in words."""

    settings: tuple[Difference, ...]
    """Keys of the configuration, `output` aside."""

    facts: tuple[Difference, ...]
    """Data, model, engine and versions as they were found."""


def compare(runs: Sequence[Run]) -> Comparison:
    """What `runs` share and do not share."""
    held_out = _held_out(runs)
    return Comparison(
        held_out=held_out,
        cautions=tuple(_cautions(runs, held_out)),
        settings=_differences([{one.key: one.value for one in run.settings} for run in runs], {"output"}),
        facts=_differences([_facts(run) for run in runs]),
    )


def _held_out(runs: Sequence[Run]) -> dict[str, int]:
    numbers: dict[tuple[object, ...], int] = {}
    found: dict[str, int] = {}
    for run in runs:
        key = held_out_key(run)
        found[run.label] = 0 if key is None else numbers.setdefault(key, len(numbers) + 1)
    return found


def held_out_key(run: Run) -> tuple[object, ...] | None:
    """What the held-out pairs of a run follow from; None without any.

    Runs with equal keys were evaluated on the same pairs, cut and rendered alike.
    """
    definition = run.records.definition
    data = definition.data
    if "eval" not in data.used:
        return None
    sources, section = (data.eval, "data.eval") if data.eval else (data.train, "data.train")
    reading = [
        (one.key, repr(one.value))
        for one in run.settings
        if one.key.startswith(section) and not one.key.endswith(".path")
    ]
    drawn = not data.eval or any(source.left_out for source in sources)
    return (
        tuple(map(_source_key, sources)),
        tuple(reading),
        (run.setting("data.eval"), run.setting("training.seed")) if drawn else None,
        (definition.template.sha256, data.max_length, data.truncation),
        data.used["eval"],
    )


def _source_key(source: Source) -> tuple[object, ...]:
    return (source.fingerprint, source.split, source.used, tuple(sorted(source.left_out.items())))


def _cautions(runs: Sequence[Run], held_out: Mapping[str, int]) -> list[str]:
    cautions: list[str] = []
    if len(set(held_out.values())) > 1:
        cautions.append(
            "Not all runs were evaluated on the same held-out pairs: figures may be compared only where the "
            "column “held-out data” has the same number."
        )
    if len({_objective(run) for run in runs}) > 1:
        cautions.append(
            "The objectives differ, so their losses, rewards and margins are different quantities, and pair "
            "accuracy is that of each one's own reward; log-probabilities and log odds are the same for all."
        )
    if len({run.records.definition.model.name for run in runs}) > 1:
        cautions.append(
            "The models differ: figures per token may be compared only if their tokenizers are the same."
        )
    if any(run.state != "finished" for run in runs):
        cautions.append("Not all runs are finished: a last value may be that of a point on the way.")
    return cautions


def _objective(run: Run) -> str:
    return run.records.definition.objective.model_dump_json()


def _facts(run: Run) -> dict[str, object]:
    definition = run.records.definition
    data = definition.data
    return {
        "model commit": definition.model.commit,
        "parameters": definition.model.parameters,
        "trained parameters": definition.model.trainable_parameters,
        "template": definition.template.sha256,
        **{
            f"{use} data": ", ".join(source.fingerprint for source in sources)
            for use, sources in (("training", data.train), ("held-out", data.eval))
        },
        **{f"{use} pairs used": used.pairs for use, used in data.used.items()},
        **{f"engine: {name}": value for name, value in definition.engine.items()},
        **{f"version: {name}": value for name, value in definition.versions.items()},
    }


def _differences(
    tables: Sequence[Mapping[str, object]], left_out: set[str] | frozenset[str] = frozenset()
) -> tuple[Difference, ...]:
    """The keys on which the tables do not agree, in the order in which they come up."""
    names = dict.fromkeys(name for table in tables for name in table if name not in left_out)
    return tuple(
        Difference(name, tuple(plain(table[name]) if name in table else "–" for table in tables))
        for name in names
        if len({repr(table[name]) if name in table else None for table in tables}) > 1
    )


def plain(value: object) -> str:
    """A value of a configuration as text."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(plain, cast(list[object], value)))}]"
        case _:
            return str(value)
