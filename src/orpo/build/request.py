"""What to build, from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orpo.build.options import Format, NearDuplicates
from orpo.config import RunConfig
from orpo.data import SourceSpec
from orpo.data.shapes import Transcripts
from orpo.data.spec import Policy
from orpo.doctor.request import source_specs
from orpo.errors import ConfigError

EVAL_FRACTION = 0.05
SEED = 42


@dataclass(frozen=True, kw_only=True)
class Request:
    """A data set to build."""

    train: tuple[SourceSpec, ...]

    eval: tuple[SourceSpec, ...] | float | None = EVAL_FRACTION
    """Sources, or the fraction of the training examples to hold out."""

    seed: int = SEED
    """Which prompts are held out."""

    transcripts: Transcripts = "messages"
    """What transcripts become."""

    near_duplicates: NearDuplicates = NearDuplicates.DROP
    format: Format = Format.JSONL


def request_for_sources(paths: Sequence[str]) -> Request:
    """All rows of these sources."""
    return Request(train=tuple(SourceSpec(path) for path in paths))


def request_for_config(config: RunConfig) -> Request:
    """The data of a run, with what it evaluates on, if it says so."""
    data = config.data
    evaluation = source_specs(data.eval) if isinstance(data.eval, tuple) else data.eval
    return Request(
        train=source_specs(data.train),
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
            f"--eval: the config names sources for data.eval, so there is no fraction to hold out, got {fraction}",
            hint="Leave out --eval, or remove data.eval from the config.",
        )
    return replace(request, eval=fraction or None)


def with_reading(
    request: Request, *, policy: Policy | None, criterion: str | None, min_margin: float | None
) -> Request:
    """The same, with every source read so; None leaves what a source says itself."""
    given = {"policy": policy, "criterion": criterion, "min_margin": min_margin}
    changes = {key: value for key, value in given.items() if value is not None}
    evaluation = request.eval
    if isinstance(evaluation, tuple):
        evaluation = tuple(replace(spec, **changes) for spec in evaluation)
    return replace(
        request, train=tuple(replace(spec, **changes) for spec in request.train), eval=evaluation
    )
