"""From a file to the systems of a comparison, each with its own configuration of a run.

A system is described by the keys in which its runs differ.  They are put into the tree of the file, so that
the schema of runs judges them, and every mistake has its line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import cast

from orpo.config.check import check
from orpo.config.compare import CompareConfig
from orpo.config.keys import KEYS
from orpo.config.load import LoadedConfig, checked, read_tree
from orpo.config.overrides import apply_overrides, assign
from orpo.config.schema import RunConfig
from orpo.config.tree import Items, Leaf, Node, Origin, Problem, Table, config_error, from_python

DECIDED = {
    "training.seed": "compare.seeds",
    "training.epochs": "compare.budget",
    "training.max_steps": "compare.budget",
}
"""Keys of a run that the comparison sets, and what decides them."""

_OF_OBJECTIVES, _OF_JUDGE = ("objective", "training"), ("data", "training", "objective")
"""Sections of a run in which systems may differ, and those that a judge may have of its own."""


_NO_LANGUAGE = (
    "`objective.name`: reward trains a judge, which writes nothing; it belongs under `compare.judge`"
)


@dataclass(frozen=True)
class System:
    """One way to train, before seed and budget."""

    name: str
    after: str | None
    tree: Table

    def configured(self, values: Mapping[str, object]) -> LoadedConfig:
        """The configuration of one of its runs; see `configured`."""
        return configured(self.tree, values)


@dataclass(frozen=True)
class LoadedComparison:
    """A checked configuration of a comparison."""

    config: CompareConfig
    systems: tuple[System, ...]
    judge: Table | None
    """The configuration of a judge that is to be trained, but for its seed and its place."""


def load_comparison(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LoadedComparison:
    """The comparison that a YAML file describes.

    Args:
        path: the file.
        overrides: ``key=value`` with dotted keys and YAML values, applied in order.

    Raises:
        ConfigError: naming every mistake with its line, or what is wrong with the file.
    """
    tree, problems = read_tree(path)
    tree, malformed = apply_overrides(tree, overrides, CompareConfig)
    config = check(tree, [*problems, *malformed], CompareConfig)
    if not isinstance(config, CompareConfig):
        raise config_error(config)
    section = cast(Table, tree.children["compare"])
    run = Table({key: child for key, child in tree.children.items() if key != "compare"}, tree.origin)
    found = _problems(run, section, config)
    if found:
        raise config_error(found)
    systems = tuple(one for node in _items(section, "systems") for one in _systems(run, node))
    judge = _judge(run, section) if config.compare.judge and config.compare.judge.data else None
    for one in systems:
        if one.configured({}).config.objective.name == "reward":
            raise config_error([Problem(one.tree.origin, _NO_LANGUAGE)])
    _require_names(systems)
    if judge is not None:
        checked(judge)
    return LoadedComparison(config, systems, judge)


def configured(tree: Table, values: Mapping[str, object]) -> LoadedConfig:
    """The configuration of a run with some values in place.

    Args:
        tree: of the configuration.
        values: by dotted key; what decides them is their origin.

    Raises:
        ConfigError: naming every mistake.
    """
    node: Node = tree
    for key, value in values.items():
        origin = Origin(DECIDED.get(key, "orpo compare"))
        assigned = assign(node, tuple(key.split(".")), from_python(value, origin), RunConfig)
        assert isinstance(assigned, Table)
        node = assigned
    assert isinstance(node, Table)
    return checked(node)


# Mistakes that the schema does not know


def _problems(run: Table, section: Table, config: CompareConfig) -> list[Problem]:
    found = list(_decided(run))
    for node in _items(section, "systems"):
        found += _decided(node)
    judge = section.children.get("judge")
    if config.compare.judge is not None and isinstance(judge, Table):
        given = [key for key in ("model", "data") if getattr(config.compare.judge, key) is not None]
        if len(given) != 1:
            found.append(
                Problem(
                    judge.origin,
                    "`compare.judge`: expected `model`, a reward model, or `data`, the pairs to train one on",
                )
            )
    if config.model.random_init:
        text = "`model.random_init`: a comparison starts from one model, and random weights differ by seed"
        found.append(Problem(run.children["model"].origin, text))
    data = run.children["data"]
    if not isinstance(config.data.eval, tuple):
        given = data.children.get("eval") if isinstance(data, Table) else None
        origin = data.origin if given is None else given.origin
        found.append(
            Problem(
                origin,
                "`data.eval`: expected a source of held-out pairs; a fraction of the training pairs would be "
                "another one with each seed",
            )
        )
    return found


def _decided(table: Table) -> Iterator[Problem]:
    """Keys that are set where the comparison sets them."""
    for key, by in DECIDED.items():
        outer, name = key.split(".")
        inner = table.children.get(outer)
        if isinstance(inner, Table) and name in inner.children:
            yield Problem(inner.children[name].origin, f"`{key}` is decided by `{by}` in a comparison")


def _require_names(systems: Sequence[System]) -> None:
    """Refuse names that are taken, and `after` without its system.

    Raises:
        ConfigError: naming every mistake.
    """
    by_name: dict[str, System] = {}
    found: list[Problem] = []
    for one in systems:
        if one.name in by_name:
            found.append(Problem(one.tree.origin, f"two systems are called `{one.name}`"))
        by_name[one.name] = one
    for one in systems:
        if one.after is None:
            continue
        first = by_name.get(one.after)
        if first is None:
            names = ", ".join(f"`{name}`" for name in by_name)
            found.append(
                Problem(one.tree.origin, f"`after`: there is no system `{one.after}`; there are {names}")
            )
        elif first.after is not None:
            found.append(
                Problem(
                    one.tree.origin,
                    f"`after`: `{one.after}` itself starts from `{first.after}`; two phases at most",
                )
            )
    if found:
        raise config_error(dict.fromkeys(found))  # an entry with lists is several systems


# Trees


def _items(section: Table, name: str) -> list[Table]:
    node = section.children.get(name)
    return [item for item in node.items if isinstance(item, Table)] if isinstance(node, Items) else []


def _systems(run: Table, node: Table) -> Iterator[System]:
    """The systems that an entry describes: one for each combination of the values in its lists."""
    name, after = (_text(node.children.get(key)) for key in ("name", "after"))
    assert name is not None
    for suffix, one in _expanded(node, _OF_OBJECTIVES):
        yield System(f"{name}{suffix}", after, replace(_merged(run, one, _OF_OBJECTIVES), origin=node.origin))


def _judge(run: Table, section: Table) -> Table:
    node = section.children["judge"]
    assert isinstance(node, Table)
    named = assign(node.children.get("objective"), ("name",), Leaf("reward", Origin("compare.judge")), None)
    assert isinstance(named, Table)
    return _merged(run, Table({**node.children, "objective": named}, node.origin), _OF_JUDGE)


def _merged(run: Table, changes: Table, sections: Iterable[str]) -> Table:
    """A run's tree with the changes of a system; an objective takes the place of another one as a whole."""
    children = dict(run.children)
    for name in sections:
        change = changes.children.get(name)
        before = children.get(name)
        if not isinstance(change, Table):
            continue
        if isinstance(before, Table) and name != "objective":
            change = Table({**before.children, **change.children}, change.origin)
        children[name] = change
    return Table(children, run.origin)


def _expanded(node: Table, sections: Iterable[str]) -> Iterator[tuple[str, Table]]:
    """An entry with each combination of the values in its lists, and what that adds to the name."""
    choices = [
        [(section, name, item) for item in child.items]
        for section in sections
        if isinstance(table := node.children.get(section), Table)
        for name, child in table.children.items()
        if isinstance(child, Items) and not _takes_lists(f"{section}.{name}")
    ]
    for choice in product(*choices):
        children = dict(node.children)
        for section, name, item in choice:
            table = cast(Table, children[section])
            children[section] = Table({**table.children, name: item}, table.origin)
        suffix = "".join(f"-{name}-{_text(item)}" for _, name, item in choice)
        yield suffix, Table(children, node.origin)


def _takes_lists(key: str) -> bool:
    return key in KEYS and "a list" in KEYS[key].expected


def _text(node: Node | None) -> str | None:
    return str(node.value) if isinstance(node, Leaf) and node.value is not None else None
