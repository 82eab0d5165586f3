"""Everything that can be wrong with a tree, found in one go: credentials, unknown keys, values.

Each pass takes out what it has reported, so that no later one mentions it: a credential is gone before any
message could echo it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from orpo.config.keys import Keys, explain_unknown, fields_of, keys_of, section_of
from orpo.config.peers import ADVICE
from orpo.config.section import Section
from orpo.config.tree import Items, Leaf, Node, Problem, Table, echo, plain
from orpo.credentials import MASK, is_secret_name, is_secret_value, redact

Path = tuple[str, ...]
Complaints = Mapping[Path, Mapping[str, Any]]
Root = TypeVar("Root", bound=Section)

_NAME = re.compile(r"[\w.< -]{1,60}")

_SECRET_HINT = (
    "Credentials come from the environment: run `hf auth login` or set HF_TOKEN; trackers have variables of "
    "their own, such as WANDB_API_KEY. Revoke the value if it was ever shared."
)


def check(tree: Table, earlier: Iterable[Problem], root: type[Root]) -> Root | list[Problem]:
    """The configuration of the kind `root` that a tree describes, or every problem with it, `earlier` ones
    included."""
    problems, keys = list(earlier), keys_of(root)
    tree = _mask_table(tree, (), False, problems)
    tree = _known_table(tree, root, (), problems, keys)
    result = _validate(tree, root)
    if isinstance(result, Mapping):
        return problems + _unsettled(tree, result, problems, keys)
    return problems or result


def _unsettled(tree: Table, complaints: Complaints, problems: list[Problem], keys: Keys) -> list[Problem]:
    """The complaints that say something new: not about a key that a problem is already about, nor that one is
    missing which an unknown key was meant to be."""
    settled = {problem.key for problem in problems if problem.key}
    found = settled | {problem.meant for problem in problems if problem.meant}
    return [
        _explain(tree, path, complaint, keys)
        for path, complaint in complaints.items()
        if not _is_within(path, settled)
        and not (complaint["type"] == "missing" and _is_found(path, found, keys))
    ]


def _is_within(path: Path, names: set[str]) -> bool:
    return any(".".join(path[:length]) in names for length in range(1, len(path) + 1))


def _is_found(path: Path, names: set[str], keys: Keys) -> bool:
    """Whether a key, or everything that its section requires, is among the names."""
    name = _schema_path(path)
    required = {child.path for child in keys.values() if child.parent == name and child.field.is_required()}
    return name in names or (bool(required) and required <= names)


# Credentials


def _mask(node: Node, path: Path, named: bool, problems: list[Problem]) -> Node:
    """The node with a mask in place of every credential; `named`: a key above has the name of one."""
    match node:
        case Table():
            return _mask_table(node, path, named, problems)
        case Items():
            items = (
                _mask(item, (*path, str(index)), named, problems) for index, item in enumerate(node.items)
            )
            return Items(tuple(items), node.origin)
        case Leaf() if _is_secret(node.value, path, named):
            shown = ".".join(path)
            text = f"`{shown}` holds what looks like a credential; a configuration must not"
            problems.append(Problem(node.origin, text, _SECRET_HINT, key=shown))
            return Leaf(MASK, node.origin)
        case Leaf():
            return node


def _mask_table(table: Table, path: Path, named: bool, problems: list[Problem]) -> Table:
    children: dict[str, Node] = {}
    for key, child in table.children.items():
        here = (*path, redact(key))
        if here[-1] != key:
            text = f"the key `{'.'.join(here)}` looks like a credential itself"
            problems.append(Problem(child.origin, text, _SECRET_HINT))
        else:
            children[key] = _mask(child, here, named or is_secret_name(key), problems)
    return Table(children, table.origin)


def _is_secret(value: object, path: Path, named: bool) -> bool:
    if value is None or isinstance(value, bool) or value == "":
        return False
    name = next((part for part in reversed(path) if not part.isdecimal()), "")
    return named or (isinstance(value, str) and is_secret_value(value, name))


# Unknown keys


def _known(node: Node, section: type[Section], path: Path, problems: list[Problem], keys: Keys) -> Node:
    match node:
        case Table():
            return _known_table(node, section, path, problems, keys)
        case Items():
            items = (
                _known(item, section, (*path, str(index)), problems, keys)
                for index, item in enumerate(node.items)
            )
            return Items(tuple(items), node.origin)
        case Leaf():
            return node


def _known_table(
    table: Table, section: type[Section], path: Path, problems: list[Problem], keys: Keys
) -> Table:
    """The table without keys that its section does not have."""
    children: dict[str, Node] = {}
    fields = fields_of(section)
    for key, child in table.children.items():
        here = (*path, key)
        if key in fields:
            inner = section_of(fields[key], _name_in(child))
            children[key] = child if inner is None else _known(child, inner, here, problems, keys)
        elif not _holds_reported(here, problems):
            problems.append(_elsewhere(key, child, section, path, keys) or _unknown(key, child, path, keys))
    return Table(children, table.origin)


def _name_in(node: Node) -> object:
    """The value of `name` in a mapping."""
    name = node.children.get("name") if isinstance(node, Table) else None
    return name.value if isinstance(name, Leaf) else None


def _holds_reported(path: Path, problems: list[Problem]) -> bool:
    """Whether a problem is already known at a path or below it: a credential, say, where no key is."""
    name = ".".join(path)
    return any(f"{problem.key}.".startswith(f"{name}.") for problem in problems if problem.key)


def _elsewhere(key: str, node: Node, section: type[Section], path: Path, keys: Keys) -> Problem | None:
    """The problem with a key of a section that this one takes the place of."""
    name = f"{_schema_path(path)}.{key}"
    if not path or name not in keys or key in ADVICE:
        return None
    siblings = keys[_schema_path(path)].sections
    owners = [one.model_fields["name"].default for one in siblings if key in fields_of(one)]
    here = section.model_fields["name"].default
    theirs = " and ".join(f"`{owner}`" for owner in owners)
    ours = ", ".join(f"`{field}`" for field in fields_of(section))
    return Problem(node.origin, f"`{name}` is a key of {theirs}; those of `{here}` are {ours}", key=name)


def _unknown(key: str, node: Node, path: Path, keys: Keys) -> Problem:
    children = frozenset(node.children) if isinstance(node, Table) else frozenset[str]()
    explained = explain_unknown(key, _schema_path(path), children, keys)
    # What is no name is not repeated: it is text, perhaps private, of a file that is no configuration.
    shown = f"`{'.'.join((*path, key))}`" if _NAME.fullmatch(key) else "(not a name)"
    return Problem(node.origin, f"unknown key {shown}: {explained.text}", meant=explained.meant)


def _schema_path(path: Path) -> str:
    """The path as the schema knows it, without positions in lists."""
    return ".".join(part for part in path if not part.isdecimal())


# Values


def _validate(tree: Table, root: type[Root]) -> Root | Complaints:
    """The configuration, or pydantic's complaints: one for each key that is wrong or missing."""
    try:
        return root.model_validate(plain(tree))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    located = {_locate(tree, detail): detail for detail in details}
    return {
        _innermost_key(path): detail for path, detail in located.items() if not _has_deeper(path, located)
    }


def _has_deeper(path: Path, paths: Iterable[Path]) -> bool:
    """Whether another complaint is about a part of this value: of a union's branches, the one that was meant
    gets furthest."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)


def _locate(tree: Table, detail: Mapping[str, Any]) -> Path:
    """Where in the tree pydantic's complaint is, without the names it gives to the branches of unions."""
    location: list[str | int] = list(detail["loc"])
    missing = [str(location.pop())] if detail["type"] == "missing" else []
    path: list[str] = []
    node: Node = tree
    for part in location:
        if isinstance(node, Table) and part in node.children:
            node = node.children[str(part)]
        elif isinstance(node, Items) and isinstance(part, int):
            node = node.items[part]
        else:
            continue
        path.append(str(part))
    return (*path, *missing)


def _innermost_key(path: Path) -> Path:
    """The path without positions in a list at its end."""
    return _innermost_key(path[:-1]) if path[-1].isdecimal() else path


def _explain(tree: Table, path: Path, complaint: Mapping[str, Any], keys: Keys) -> Problem:
    """A complaint in our words: the key, what it may hold and what it holds."""
    name, key, node = ".".join(path), keys[_schema_path(path)], _last_node(tree, path)
    match complaint["type"]:
        case "missing":
            text = f"missing key `{name}`: {key.help}"
        case "union_tag_invalid":
            name = f"{name}.name"
            text = f"`{name}`: expected {keys[name].expected}, got {echo(_last_node(tree, (*path, 'name')))}"
        case "value_error":
            text = f"`{name}`: {complaint['ctx']['error']}"
        case _:
            text = f"`{name}`: expected {key.expected}, got {echo(node)}"
    return Problem(node.origin, text, key=name)


def _last_node(tree: Table, path: Path) -> Node:
    """The last node that exists on a path."""
    node: Node = tree
    for part in path:
        if isinstance(node, Items):
            node = node.items[int(part)]
        elif isinstance(node, Table) and part in node.children:
            node = node.children[part]
    return node
