"""Configuration as a tree in which every node knows where it was written.

Values keep their origin until the schema has judged them, so that every complaint has a place.  YAML is
composed by ruamel.yaml and turned into values here, not by its constructors: those stop at the first
duplicate key, make dates of `2026-01-01`, and forget lines.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from orpo.credentials import redact
from orpo.errors import ConfigError

MAX_NODES = 10_000
"""Most values after aliases are expanded; a few lines of nested aliases can stand for billions."""

MAX_DEPTH = 32
"""Deepest nesting; also what ends an alias that contains itself."""

_YAML = "tag:yaml.org,2002:"
_CONSTRUCTED = {_YAML + name for name in ("null", "bool", "int", "float")}
_QUOTED = re.compile(r"""(['"])(.*?)\1""")
_TEXT = {_YAML + name for name in ("str", "timestamp", "merge", "value")}


@dataclass(frozen=True)
class Origin:
    """Where a value comes from; `order` places the command line after the file."""

    source: str
    line: int | None = None
    order: int = 0

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One mistake.

    `key` is what it is about, where that is a key of the schema, and `meant` what an unknown key was probably
    meant to be: so that one mistake is not reported twice, as wrong here and missing there.
    """

    origin: Origin
    text: str
    hint: str | None = None
    key: str | None = None
    meant: str | None = None

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


@dataclass(frozen=True)
class Leaf:
    """A value without parts: text, a number, true, false or null, or any object from Python."""

    value: object
    origin: Origin


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    origin: Origin


@dataclass(frozen=True)
class Table:
    """A mapping; each child's origin is that of its key."""

    children: Mapping[str, Node]
    origin: Origin


Node = Leaf | Items | Table


def config_error(problems: Iterable[Problem]) -> ConfigError:
    """All problems as one error, in the order of the file, then of the command line."""

    def place(problem: Problem) -> tuple[int, float]:
        line = problem.origin.line
        return problem.origin.order, float("inf") if line is None else line

    ordered = sorted(problems, key=place)
    hints = dict.fromkeys(problem.hint for problem in ordered if problem.hint)
    return ConfigError("\n".join(map(str, ordered)), hint="\n".join(hints) or None)


def plain(node: Node) -> object:
    """The node's value without origins."""
    match node:
        case Leaf():
            return node.value
        case Items():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(child) for key, child in node.children.items()}


def echo(node: Node) -> str:
    """The node's value as a message shows it: short, and with its kind where that is the point."""
    value = plain(node)
    if isinstance(value, str):
        return f"the text {_shorten(json.dumps(value, ensure_ascii=False))}"
    if value is None or isinstance(value, bool | int | float | list | dict):
        return _shorten(json.dumps(value, ensure_ascii=False, default=_kind))
    return _kind(value)


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"


def _shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[:most] + "…"


def from_python(value: object, origin: Origin) -> Node:
    """A tree from Python values; a section counts as the mapping of the keys that were set on it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        pairs = cast(Mapping[object, object], value).items()
        return Table({str(key): from_python(child, origin) for key, child in pairs}, origin)
    if isinstance(value, list | tuple):
        items = cast(Iterable[object], value)
        return Items(tuple(from_python(item, origin) for item in items), origin)
    if isinstance(value, os.PathLike):
        return Leaf(os.fspath(cast(os.PathLike[str], value)), origin)
    return Leaf(value, origin)


def parse_yaml(text: str, locate: Callable[[int], Origin]) -> tuple[Node | None, list[Problem]]:
    """A tree from YAML 1.2 text.

    Args:
        text: one document.
        locate: the origin of a line, counted from 1.

    Returns:
        The tree, None where there is none, and everything that is wrong with the text itself.
    """
    reader = YAML(typ="safe", pure=True)
    reader.composer.warn_double_anchors = False
    root = _compose(reader, text, locate)
    if root is None:
        return None, []
    if isinstance(root, Problem):
        return None, [root]
    builder = _Builder(reader, locate)
    try:
        return builder.build(root, (), locate(root.start_mark.line + 1)), builder.problems
    except _TooBigError:
        return None, [_too_big(locate)]


def _compose(reader: Any, text: str, locate: Callable[[int], Origin]) -> Any:
    """ruamel.yaml's own tree, None for an empty text, or the reason why there is none."""
    try:
        return reader.compose(text)
    except MarkedYAMLError as error:
        return _syntax(error, locate)
    except ReaderError as error:
        line = text.count("\n", 0, cast(Any, error).position) + 1
        return Problem(locate(line), "not valid YAML: a control character, which text may not contain")
    except (ValueError, OverflowError):
        return Problem(locate(1), "not valid YAML: an escape or directive with an impossible number")
    except RecursionError:
        return _too_big(locate)


def _too_big(locate: Callable[[int], Origin]) -> Problem:
    text = f"not a configuration: more than {MAX_DEPTH} levels or, aliases expanded, {MAX_NODES} values"
    return Problem(locate(1), text)


def _syntax(error: Any, locate: Callable[[int], Origin]) -> Problem:
    parts = [str(part) for part in (error.problem, error.context) if part]
    mark = error.problem_mark or error.context_mark
    tabs = "'\\t'" in parts[0]
    hint = (
        "YAML is indented with spaces, not with tabs."
        if tabs
        else "Each line is `key: value`; keys of one mapping begin in the same column."
    )
    return Problem(locate(mark.line + 1), f"not valid YAML: {_QUOTED.sub(_unquote, ', '.join(parts))}", hint)


def _unquote(match: re.Match[str]) -> str:
    """A quotation in a message of ruamel.yaml: kept if it is punctuation or a token's name, else it is text
    of the file, which may be private."""
    quoted = match[2]
    return match[0] if len(quoted) < 3 or quoted.startswith("<") else "…"


class _TooBigError(Exception):
    """The tree passes MAX_NODES or MAX_DEPTH."""


class _Builder:
    """Turns composed YAML into a tree and notes every problem on the way."""

    def __init__(self, reader: YAML, locate: Callable[[int], Origin]) -> None:
        self.problems: list[Problem] = []
        self._reader = reader
        self._locate = locate
        self._built = 0

    def build(self, node: Any, path: tuple[str, ...], origin: Origin) -> Node | None:
        self._built += 1
        if self._built > MAX_NODES or len(path) > MAX_DEPTH:
            raise _TooBigError
        tag = str(node.tag)
        match node:
            case ScalarNode() if tag in _TEXT:
                return Leaf(_text(node), origin)
            case ScalarNode() if tag in _CONSTRUCTED:
                return self._scalar(node, tag, path, origin)
            case SequenceNode() if tag == _YAML + "seq":
                return self._items(node, path, origin)
            case MappingNode() if tag == _YAML + "map":
                return self._table(node, path, origin)
            case _:
                self._note(origin, "tags (`!name`) are not supported", path)
                return None

    def _note(self, origin: Origin, text: str, path: tuple[str, ...]) -> None:
        self.problems.append(Problem(origin, text, key=".".join(path)))

    def _scalar(self, node: Any, tag: str, path: tuple[str, ...], origin: Origin) -> Node | None:
        try:
            return Leaf(self._reader.constructor.construct_object(node), origin)
        except (ValueError, KeyError, YAMLError):
            kind = tag.removeprefix(_YAML)
            self._note(origin, f"`{redact('.'.join(path))}`: cannot be read as {kind}", path)
            return None

    def _items(self, node: Any, path: tuple[str, ...], origin: Origin) -> Items:
        built = [
            self.build(item, (*path, str(index)), self._locate(item.start_mark.line + 1))
            for index, item in enumerate(node.value)
        ]
        return Items(tuple(item for item in built if item is not None), origin)

    def _table(self, node: Any, path: tuple[str, ...], origin: Origin) -> Table:
        children: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line: int = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._note(self._locate(line), "a key must be plain text, not a list or a mapping", path)
                continue
            key = _text(key_node)
            here = (*path, key)
            if key in lines:
                text = f"duplicate key `{redact('.'.join(here))}`, first given at line {lines[key]}"
                self._note(self._locate(line), text, here)
                continue
            lines[key] = line
            child = self.build(value_node, here, self._locate(line))
            if child is not None:
                children[key] = child
        return Table(children, origin)


def _text(scalar: Any) -> str:
    return str(scalar.value)
