"""A resolved configuration as YAML that says where each value came from.

It is itself a configuration: loading it gives an equal one.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from orpo.config.load import LoadedConfig, resolved

COMMENT_COLUMN = 48
"""Where the comments start; longer lines carry theirs one space after the value."""


def dump_config(loaded: LoadedConfig) -> str:
    """Every key of a configuration as YAML 1.2, each value followed by a comment with its provenance."""
    writer = cast(Any, YAML())
    writer.width = sys.maxsize  # a wrapped text would separate a value from its comment
    writer.representer.add_representer(type(None), _null)
    text = io.StringIO()
    writer.dump(_mapping(resolved(loaded.config), "", loaded.provenance), text)
    return text.getvalue()


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _mapping(values: Mapping[str, Any], prefix: str, provenance: Mapping[str, str]) -> Any:
    mapping = cast(Any, CommentedMap())
    for name, value in values.items():
        key = f"{prefix}{name}"
        mapping[name] = _value(value, key, provenance)
        if key in provenance:
            mapping.yaml_add_eol_comment(f"# {_on_one_line(provenance[key])}", name, column=COMMENT_COLUMN)
    return mapping


def _value(value: Any, key: str, provenance: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return _mapping(cast(Mapping[str, Any], value), f"{key}.", provenance)
        case [dict(), *_]:
            sources = enumerate(cast(list[Mapping[str, Any]], value))
            items = [_mapping(source, f"{key}.{index}.", provenance) for index, source in sources]
            return CommentedSeq(items)
        case list():
            texts = cast(
                Any, CommentedSeq([_value(text, key, provenance) for text in cast(list[str], value)])
            )
            texts.fa.set_flow_style()  # on one line, with the comment behind it
            return texts
        case str() if not value.isprintable():
            return DoubleQuotedScalarString(value)  # the only style that escapes every line break
        case _:
            return value


def _on_one_line(origin: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in origin)
