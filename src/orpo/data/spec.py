"""What names a source of rows, and what opening one gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from orpo.data.rows import Row

if TYPE_CHECKING:
    from datasets import Dataset

Role = Literal["train", "eval"]
"""What the rows are for; it decides which split is read where none is named."""

Policy = Literal["best-vs-worst", "best-vs-random", "all-above-margin"]
"""Which pairs several scored responses to one prompt make."""

MemoryRows: TypeAlias = "Dataset | Iterable[Mapping[str, Any]]"
"""Rows in memory: values by column."""

IN_MEMORY = "rows in memory"
"""The path of what has none."""


@dataclass(frozen=True)
class SourceSpec:
    """Names a source: a local file, a folder of files, or a Hub dataset; and says how to read its rows."""

    path: str
    """Local path or Hub id; `IN_MEMORY` for rows in memory."""

    config: str | None = None
    """Configuration of a Hub dataset."""

    data_dir: str | None = None
    """Folder of a Hub dataset to read, as `data_dir` of `datasets.load_dataset`."""

    split: str | None = None
    """Split to read; None: the one that its name and the role suggest."""

    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""

    columns: Mapping[str, Any] | None = None
    """Which columns hold what, see `orpo.data.schemas.mapped`; None: as the columns' names tell."""

    criterion: str | None = None
    """Which judgement to learn from, where rows have several."""

    policy: Policy | None = None
    """Which pairs to make of several scored responses; None: best-vs-worst."""

    min_margin: float = 0.0
    """Least difference of scores, ranks or graded labels within a pair; ties are never pairs."""

    where: Mapping[str, Any] | None = None
    """Conditions that rows must meet, see `orpo.data.conditions`."""


@dataclass(frozen=True)
class MemorySource:
    """Rows in memory that take the place of a named source and are read as it would be."""

    rows: MemoryRows

    spec: SourceSpec
    """Its `columns`, `criterion`, `policy`, `min_margin` and `where` are used, and nothing of where it is."""


@dataclass(frozen=True)
class OpenSource:
    """A source whose rows can be read, once."""

    name: str
    """As the user named it."""

    rows: Iterator[Row]
    """The rows of the chosen split, streamed."""

    spec: SourceSpec
    """What was opened, chosen split filled in."""

    split: str | None = None
    """The split that was chosen; None where the source has no splits."""

    splits: tuple[str, ...] = ()
    """All the splits that the source has."""

    fingerprint: str | None = None
    """Identity of the content, `sha256:…`, `hub:COMMIT:…` or `datasets:…`; None if only reading can tell."""
