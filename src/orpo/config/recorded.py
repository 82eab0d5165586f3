"""The resolved configuration of a run, read back with where each value came from.

`orpo.config.dump` wrote it.  It is not judged by the schema, so that runs of other versions can be read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

from orpo.config.tree import Items, Node, Origin, Table, config_error, parse_yaml, plain
from orpo.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """A value of a run's configuration."""

    key: str
    """Dotted; the sources of a list are numbered from 0."""

    value: object
    """Text, a number, true, false, null, or a list of them."""

    origin: str
    """What the comment beside it says: `default`, `command line`, or file and line; empty without one."""

    @property
    def is_default(self) -> bool:
        """Whether nobody has set it."""
        return self.origin == "default"


def read_recorded(path: Path) -> tuple[Setting, ...]:
    """The settings of a run in the order of the file.

    Raises:
        ConfigError: the file cannot be read, or is not what a run writes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{path} cannot be read: {reason}", hint="A run's config.yaml is a text file."
        ) from None
    tree, problems = parse_yaml(text, lambda line: Origin(str(path), line))
    if problems:
        raise config_error(problems)
    if not isinstance(tree, Table):
        raise ConfigError(f"{path}:1: not a configuration: a mapping was expected")
    composed = cast(Any, YAML(typ="safe", pure=True)).compose(text)  # parse_yaml has, so this cannot fail
    return tuple(_settings(tree, composed, "", text.splitlines()))


def _settings(tree: Table, composed: Any, prefix: str, lines: Sequence[str]) -> Iterator[Setting]:
    """The settings of a mapping, whose two forms have the same shape."""
    for (name, child), (key_node, node) in zip(tree.children.items(), composed.value, strict=True):
        yield from _setting(child, node, f"{prefix}{name}", lines, _comment(key_node, lines))


def _setting(child: Node, node: Any, key: str, lines: Sequence[str], beside_key: str) -> Iterator[Setting]:
    match child:
        case Table() if child.children:
            yield from _settings(child, node, f"{key}.", lines)
        case Items() if any(isinstance(item, Table) for item in child.items):
            for index, (item, item_node) in enumerate(zip(child.items, node.value, strict=True)):
                yield from _setting(item, item_node, f"{key}.{index}", lines, "")
        case _:
            yield Setting(key, plain(child), _comment(node, lines) or beside_key)


def _comment(node: Any, lines: Sequence[str]) -> str:
    """The comment behind a value, or behind a key whose value is on the lines below, if there is one."""
    row: int = node.end_mark.line
    column: int = node.end_mark.column
    rest = lines[row][column:].lstrip(" :") if row < len(lines) else ""
    return rest.removeprefix("#").strip() if rest.startswith("#") else ""
