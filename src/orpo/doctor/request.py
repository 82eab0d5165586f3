"""What to examine, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orpo.config import RunConfig, SourceSection
from orpo.data import SourceSpec
from orpo.data.tokens import Truncation


@dataclass(frozen=True, kw_only=True)
class Request:
    """The subject of an examination."""

    train: tuple[SourceSpec, ...]

    eval: tuple[SourceSpec, ...] | float | None = None
    """Sources, or the fraction of the training pairs to hold out."""

    keep_unpaired: bool = False
    """Whether a labelled response without a counterpart is an example, as it is for KTO."""

    seed: int = 42
    """Which pairs are held out."""

    model: str | None = None
    """Folder or Hub id of the model whose tokenizer and template are checked."""

    revision: str | None = None
    """Hub revision of the model."""

    template: str = "auto"
    """As `data.template`."""

    truncation: Truncation = "cut"
    """As `data.truncation`."""

    max_length: int | Literal["auto"] = "auto"
    """As `data.max_length`."""

    max_dropped: float
    """Share of the rows that may be dropped, in [0, 1]."""


def request_for_source(path: str, *, max_dropped: float) -> Request:
    """The pairs of one source, as the training pairs of a run."""
    return Request(train=(SourceSpec(path),), max_dropped=max_dropped)


def request_for_config(config: RunConfig, *, max_dropped: float) -> Request:
    """The data of a run, as training would read it."""
    data = config.data
    return Request(
        train=_specs(data.train),
        eval=_specs(data.eval) if isinstance(data.eval, tuple) else data.eval,
        keep_unpaired=config.objective.takes_responses_singly,
        seed=config.training.seed,
        model=config.model.name,
        revision=config.model.revision,
        template=data.template,
        truncation=data.truncation,
        max_length=data.max_length,
        max_dropped=max_dropped,
    )


def _specs(sources: tuple[SourceSection, ...]) -> tuple[SourceSpec, ...]:
    return tuple(SourceSpec(**source.reading()) for source in sources)
