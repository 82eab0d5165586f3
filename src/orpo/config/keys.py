"""The schema as a table of dotted keys, and what to say about a key that is not in it.

One walk over the pydantic sections gives names, descriptions of expected values and the candidates for
"did you mean", so that messages, reference documentation and schema cannot disagree.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from orpo.config.peers import ADVICE
from orpo.config.schema import RunConfig
from orpo.config.section import Section

SIMILAR = 0.7
"""Least similarity (difflib's ratio) of a name that is worth suggesting."""


@dataclass(frozen=True)
class Key:
    """One key of the configuration: its dotted path, its field, and its sections where it holds any.

    Sections that take each other's place may share a key; there is a field for each of them.
    """

    path: str
    fields: tuple[FieldInfo, ...]
    sections: tuple[type[Section], ...]

    @property
    def field(self) -> FieldInfo:
        """The first of the fields."""
        return self.fields[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def expected(self) -> str:
        """The accepted values in words, such as ``a number >= 0``."""
        parts = [part for field in self.fields for part in _alternatives(field.annotation, field.metadata)]
        return _either(list(dict.fromkeys(parts)))

    @property
    def help(self) -> str:
        """The field's docstring on one line."""
        return " ".join((self.field.description or "").split())


Keys = Mapping[str, Key]
"""By their dotted paths."""


def fields_of(section: type[Section]) -> dict[str, FieldInfo]:
    """A section's fields by the names that a configuration file uses."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def sections_of(field: FieldInfo) -> tuple[type[Section], ...]:
    """The sections that a field holds, alone, optional, in a list, or one of several that have a `name`."""
    return tuple(_sections(field.annotation))


def section_of(field: FieldInfo | None, name: object = None) -> type[Section] | None:
    """The section that a field holds: of several the one of this name, else the first."""
    found = () if field is None else sections_of(field)
    named = (section for section in found if len(found) > 1 and section.model_fields["name"].default == name)
    return next(named, next(iter(found), None))


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


@cache
def keys_of(root: type[Section]) -> Keys:
    """Every key of a configuration, sections included, in the order of the schema."""
    return types.MappingProxyType(_table(_walk(root)))


def _walk(section: type[Section], prefix: str = "") -> Iterator[Key]:
    for name, field in fields_of(section).items():
        path = f"{prefix}{name}"
        inner = sections_of(field)
        yield Key(path, (field,), inner)
        for one in inner:
            yield from _walk(one, f"{path}.")


def _table(keys: Iterable[Key]) -> dict[str, Key]:
    table: dict[str, Key] = {}
    for key in keys:
        known = table.get(key.path)
        table[key.path] = key if known is None else replace(known, fields=known.fields + key.fields)
    return table


KEYS = keys_of(RunConfig)
"""Those of a run."""


def describe(annotation: Any, constraints: Iterable[Any] = ()) -> str:
    """An annotation in words for people who write configuration files."""
    return _either(list(_alternatives(annotation, constraints)))


_WORDS = {
    str: "text",
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    type(None): "`null`",
}


def _alternatives(annotation: Any, constraints: Iterable[Any] = ()) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _alternatives(arguments[0], arguments[1:])
    elif origin is Literal:
        yield from (f"`{argument}`" for argument in arguments)
    elif origin is Union or origin is types.UnionType:
        for argument in arguments:
            yield from _alternatives(argument)
    elif origin in (list, tuple) and next(_sections(arguments[0]), None):
        yield from _alternatives(arguments[0])
        yield "a list of these"
    elif origin in (list, tuple):
        yield f"a list of {describe(arguments[0])}"
    elif origin is dict:
        yield "a mapping"
    elif issubclass(annotation, Section):
        if annotation.shorthand is not None:
            yield f"text (its `{annotation.shorthand}`)"
        yield f"a mapping with keys such as `{next(iter(fields_of(annotation)))}`"
    else:
        yield " ".join([_WORDS[annotation], " and ".join(_bounds(constraints))]).rstrip()


def _bounds(constraints: Iterable[Any]) -> Iterator[str]:
    for constraint in constraints:
        match constraint:
            case FieldInfo():
                yield from _bounds(constraint.metadata)
            case annotated_types.Gt():
                yield f"> {constraint.gt}"
            case annotated_types.Ge():
                yield f">= {constraint.ge}"
            case annotated_types.Lt():
                yield f"< {constraint.lt}"
            case annotated_types.Le():
                yield f"<= {constraint.le}"
            case _:
                pass


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def nearest(name: str, parent: str, children: frozenset[str] = frozenset(), keys: Keys = KEYS) -> list[str]:
    """Keys that the writer of an unknown one may have meant, best first; empty where none is near.

    Args:
        name: the unknown key's last part.
        parent: dotted path of the section in which it was found.
        children: keys below it, if it holds a mapping.
        keys: of the schema.
    """
    name = name.lower().replace("-", "_")
    if children:
        sections = [key for key in keys.values() if key.sections]
        best = max(sections, key=lambda key: (_shared(key, children), _similarity(name, key, parent)))
        if _shared(best, children):
            return [best.path]
    elsewhere = [key.path for key in keys.values() if key.name == name]
    if elsewhere:
        return elsewhere
    best = max(keys.values(), key=lambda key: _similarity(name, key, parent))
    return [best.path] if _similarity(name, best, parent) >= SIMILAR else []


def _shared(key: Key, children: frozenset[str]) -> int:
    """How many of the children are keys of a section that `key` holds."""
    return max((len(children & fields_of(section).keys()) for section in key.sections), default=0)


def _similarity(name: str, key: Key, parent: str) -> float:
    same_section = 0.1 if key.parent == parent else 0.0
    return SequenceMatcher(None, name, key.name).ratio() + same_section


@dataclass(frozen=True)
class Unknown:
    """What to say about an unknown key, and the key that was probably meant."""

    text: str
    meant: str | None


def explain_unknown(
    name: str, parent: str, children: frozenset[str] = frozenset(), keys: Keys = KEYS
) -> Unknown:
    """Advice about an unknown key, from other tools' names first, then from similar names of ours."""
    if "." in name and name in keys:
        key = keys[name]
        return Unknown(
            f"dotted keys are for the command line; write `{key.name}` under `{key.parent}:`", name
        )
    if name.lower() in ADVICE:
        advice = ADVICE[name.lower()]
        return Unknown(advice.text, advice.key)
    candidates = nearest(name, parent, children, keys)
    if candidates:
        return Unknown(
            f"did you mean {_either([_shown(path, parent) for path in candidates])}?", candidates[0]
        )
    siblings = ", ".join(f"`{key.name}`" for key in keys.values() if key.parent == parent)
    return Unknown(f"the keys here are {siblings}", None)


def _shown(path: str, parent: str) -> str:
    return f"`{path}` at the top level" if parent and "." not in path else f"`{path}`"
