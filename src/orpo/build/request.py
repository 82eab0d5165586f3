"""What to build, from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orpo.build.options import Format, NearDuplicates
from orpo.config import RunConfig, SourceSection
from orpo.data import SourceSpec
from orpo.data.shapes import Transcripts
from orpo.errors import ConfigError

EVAL_FRACTION = 0.05
SEED = 42


@dataclass(frozen=True)
class Portion:
    """A source, and how much of it is used: see `orpo.data.mixture`."""

    spec: SourceSpec
    weight: float | None = None
    max_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A data set to build."""

    train: tuple[Portion, ...]

    eval: tuple[Portion, ...] | float | None = EVAL_FRACTION
    """Sources, or the fraction of the training examples to hold out."""

    seed: int = SEED
    """Which prompts are held out, and what is used of a source of which not all is."""

    transcripts: Transcripts = "messages"
    """What transcripts become."""

    near_duplicates: NearDuplicates = NearDuplicates.DROP
    format: Format = Format.JSONL


def request_for_sources(paths: Sequence[str]) -> Request:
    """All rows of these sources."""
    return Request(train=tuple(Portion(SourceSpec(path)) for path in paths))


def request_for_config(config: RunConfig) -> Request:
    """The data of a run, with what it evaluates on, if it says so."""
    data = config.data
    evaluation = _portions(data.eval) if isinstance(data.eval, tuple) else data.eval
    return Request(
        train=_portions(data.train),
        eval=EVAL_FRACTION if evaluation is None else evaluation,
        seed=config.training.seed,
        transcripts="text" if data.template == "none" else "messages",
    )


def with_fraction(request: Request, fraction: float) -> Request:
    """The same, with this fraction held out; none for 0.

    Raises:
        ConfigError: the evaluation has sources of its own.
    """
    if isinstance(request.eval, tuple):
        raise ConfigError(
            f"--eval {fraction:g}: the config names sources for data.eval, so nothing is held out",
            hint="Leave out --eval, or remove data.eval from the config.",
        )
    return replace(request, eval=fraction or None)


def with_reading(
    request: Request, *, policy: str | None, criterion: str | None, min_margin: float | None
) -> Request:
    """The same, with every source read so; None leaves what a source says itself.

    What is given is checked by the reader, against the rows.
    """
    given = {"policy": policy, "criterion": criterion, "min_margin": min_margin}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}

    def read_so(portions: tuple[Portion, ...]) -> tuple[Portion, ...]:
        return tuple(replace(one, spec=replace(one.spec, **changes)) for one in portions)

    evaluation = read_so(request.eval) if isinstance(request.eval, tuple) else request.eval
    return replace(request, train=read_so(request.train), eval=evaluation)


def _portions(sections: tuple[SourceSection, ...]) -> tuple[Portion, ...]:
    return tuple(Portion(SourceSpec(**one.reading()), one.weight, one.max_rows) for one in sections)
