"""Which split of a source to read: the named one, or the one that the names suggest, never a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from orpo.data.spec import Role
from orpo.errors import ConfigError, DataError

PREFERRED: dict[Role, tuple[str, ...]] = {
    "train": ("train", "train_prefs"),
    "eval": ("eval", "test", "test_prefs", "validation", "valid", "val", "dev"),
}
"""Splits for each role, the first that exists wins.  After them, the only one whose name begins so."""

_WORDS: dict[Role, tuple[str, ...]] = {
    "train": ("train",),
    "eval": ("eval", "test", "validation", "valid", "val", "dev"),
}
_WORD = re.compile(r"(?<![a-z])(train|eval|test|validation|valid|val|dev)(?![a-z])", re.IGNORECASE)
_SHARD = re.compile(r"[-_]?\d+(-of-\d+)?$")


def choose_split(available: Sequence[str], role: Role, named: str | None, source: str) -> str:
    """The split of `source` to read for `role`; `named` wins.

    Raises:
        ConfigError: `named` does not exist.
        DataError: nothing is named, and the names in `available` leave it open.
    """
    if named is not None:
        if named in available:
            return named
        raise ConfigError(
            f"{source}: there is no split {named!r}; it has {_listed(available)}",
            hint="Set `split` to one of these.",
        )
    for candidate in PREFERRED[role]:
        if candidate in available:
            return candidate
    suggested = [name for name in available if _begins_with(name, _WORDS[role])]
    if len(suggested) == 1:
        return suggested[0]
    if role == "train" and len(available) == 1:
        return available[0]
    raise DataError(
        f"{source}: which split holds the {role} rows is not clear; it has {_listed(available)}",
        hint="Choose one: `{path: …, split: NAME}` in place of the plain path.",
    )


def split_of_file(relative: PurePath) -> str | None:
    """The split that a file in a folder belongs to by its name, or by a folder on the way to it.

    `train-00000-of-00003.parquet`, `dpo_train.csv` and `train/part_1.jsonl` are `train`, `train_prefs.csv` is
    `train_prefs`; None for names that show no split.
    """
    for part in (*relative.parts[:-1], relative.name.partition(".")[0]):
        match = _WORD.search(part)
        if match:
            return _SHARD.sub("", part[match.start() :])
    return None


def _begins_with(name: str, words: tuple[str, ...]) -> bool:
    match = _WORD.match(name)
    return match is not None and match[1].lower() in words


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
