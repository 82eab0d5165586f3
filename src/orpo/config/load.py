"""From a file, or a mapping from Python, and ``key=value`` overrides to a checked configuration.

Nothing is raised before everything has been looked at: one error lists all mistakes, in the order of the
file.  No error refers to another library's exception, whose text could repeat what the file holds.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from orpo.config.check import check
from orpo.config.keys import fields_of, section_of
from orpo.config.overrides import apply_overrides, expanded
from orpo.config.schema import RunConfig
from orpo.config.section import Section
from orpo.config.tree import Items, Leaf, Node, Origin, Problem, Table, config_error, from_python, parse_yaml
from orpo.errors import ConfigError

MAX_BYTES = 64 * 1024
"""Most bytes of a configuration file; beyond it is data that was named by mistake."""

DEFAULT = "default"
"""The provenance of a value that nobody gave."""

_OF_DATA = {".jsonl", ".csv", ".parquet", ".gz", ".zst"}
"""Endings of files that are never a configuration."""

_START = "A configuration needs at least `model`, `data.train` and `output`."


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration and where its values come from.

    `provenance` maps every dotted key of `resolved(config)` that holds a value to ``FILE:LINE``,
    ``command line``, the caller's name or ``default``.
    """

    config: RunConfig
    provenance: Mapping[str, str]


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LoadedConfig:
    """The configuration in a YAML file.

    Args:
        path: the file.
        overrides: ``key=value`` with dotted keys and YAML values, applied in order.

    Raises:
        ConfigError: naming every mistake with its line, or what is wrong with the file.
    """
    tree, problems = read_tree(path)
    return _finish(tree, overrides, problems)


def read_tree(path: str | os.PathLike[str]) -> tuple[Table, list[Problem]]:
    """What a YAML file holds, not yet judged by any schema, and what is wrong with the text itself.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    source = os.fspath(path)
    if Path(path).suffix in _OF_DATA:
        raise ConfigError(
            f"{source}: expected a configuration in YAML, and by its name this is data",
            hint=f"Name it in a configuration, as `data.train`. {_START}",
        )
    text = _read(Path(path))
    tree, problems = parse_yaml(text, lambda line: Origin(source, line))
    if problems and not isinstance(tree, Table):
        raise config_error(problems)
    if tree is None or (isinstance(tree, Leaf) and tree.value is None):
        raise ConfigError(f"{source}: the file is empty; expected a mapping of keys to values", hint=_START)
    if not isinstance(tree, Table):
        got = "a list" if isinstance(tree, Items) else "a single value"
        raise ConfigError(f"{tree.origin}: expected a mapping of keys to values, got {got}", hint=_START)
    return Table(tree.children, Origin(source)), problems


def parse_config(
    config: Mapping[str, Any] | RunConfig, overrides: Sequence[str] = (), *, origin: str = "train()"
) -> LoadedConfig:
    """The configuration that a mapping from Python holds; see `load_config`.

    Args:
        config: nested mappings with the keys of a configuration file, or a configuration.
        overrides: ``key=value`` with dotted keys and YAML values, applied in order.
        origin: what to call the caller in messages and provenance.

    Raises:
        ConfigError: naming every mistake.
    """
    tree = from_python(config, Origin(origin))
    assert isinstance(tree, Table)
    return _finish(tree, overrides, [])


def _finish(tree: Table, overrides: Sequence[str], problems: list[Problem]) -> LoadedConfig:
    tree, malformed = apply_overrides(tree, overrides)
    return checked(tree, [*problems, *malformed])


def checked(tree: Table, problems: Sequence[Problem] = ()) -> LoadedConfig:
    """The configuration of a run that a tree describes.

    Raises:
        ConfigError: naming every mistake, `problems` included.
    """
    result = check(tree, problems, RunConfig)
    if not isinstance(result, RunConfig):
        raise config_error(result)
    provenance = dict(_provenance(resolved(result), tree, RunConfig))
    return LoadedConfig(result, MappingProxyType(provenance))


def resolved(config: RunConfig) -> dict[str, Any]:
    """Every key with its value, as plain data under the names of a configuration file.

    A list of one source is that source: `data.train.path` is a key whether it was given alone or in a list.
    """
    values = config.model_dump(mode="json", by_alias=True)
    data = values["data"]
    for name in ("train", "eval"):
        if isinstance(data[name], list) and len(data[name]) == 1:
            data[name] = data[name][0]
    return values


def _provenance(
    value: Any, node: Node | None, section: type[Section] | None, key: str = ""
) -> Iterator[tuple[str, str]]:
    """The origin of every leaf of a resolved value; `node` is what was given for it, None for nothing."""
    if isinstance(value, dict) and isinstance(node, Items):
        node = node.items[0]  # the list of one that `resolved` unwraps
    node = None if node is None else expanded(node, section)
    prefix = f"{key}." if key else ""
    if isinstance(value, dict):
        for name, child in cast(dict[str, Any], value).items():
            given = node.children.get(name) if isinstance(node, Table) else None
            named = cast(dict[str, Any], child).get("name") if isinstance(child, dict) else None
            inner = section_of(fields_of(section).get(name), named) if section else None
            yield from _provenance(child, given, inner, f"{prefix}{name}")
    elif isinstance(value, list) and section is not None:
        for index, item in enumerate(cast(list[Any], value)):
            given = node.items[index] if isinstance(node, Items) else None
            yield from _provenance(item, given, section, f"{prefix}{index}")
    else:
        yield key, DEFAULT if node is None else str(node.origin)


def _read(path: Path) -> str:
    """The text of a configuration file, its size bounded."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error
    else:
        return _decode(path, content)
    raise _unreadable(path, reason)


def _unreadable(path: Path, reason: OSError) -> ConfigError:
    match reason:
        case IsADirectoryError():
            return ConfigError(f"{path}: a directory; expected a configuration file", hint=_listing(path))
        case FileNotFoundError() | NotADirectoryError():
            return ConfigError(f"{path}: no such file", hint=_nearest(path) or _listing(path.parent))
        case _:
            return ConfigError(f"{path}: cannot be read: {reason.strerror}")


def _decode(path: Path, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES // 1024} KiB; expected a configuration file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise ConfigError(f"{path}:{line}: not UTF-8 text", hint="Save the file as UTF-8.")


def _configurations(directory: Path) -> list[Path]:
    return sorted(file for ending in ("yaml", "yml") for file in directory.glob(f"*.{ending}"))


def _nearest(path: Path) -> str | None:
    files = {file.stem: file for file in _configurations(path.parent)}
    near = difflib.get_close_matches(path.stem, files, n=1)
    return f"Did you mean {files[near[0]]}?" if near else None


def _listing(directory: Path) -> str:
    if not directory.is_dir():
        return f"The directory {directory} does not exist either."
    names = [file.name for file in _configurations(directory)]
    if not names:
        return f"There is no .yaml file in {directory}."
    return f"Configuration files in {directory}: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
