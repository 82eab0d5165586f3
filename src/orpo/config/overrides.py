"""``key=value`` arguments: dotted keys into the tree that a configuration file gave."""

from __future__ import annotations

from collections.abc import Sequence

from orpo.config.keys import fields_of, section_of
from orpo.config.schema import RunConfig
from orpo.config.section import Section
from orpo.config.tree import Items, Leaf, Node, Origin, Problem, Table, parse_yaml
from orpo.credentials import redact

SOURCE = "command line"


def apply_overrides(
    tree: Table, overrides: Sequence[str], root: type[Section] = RunConfig
) -> tuple[Table, list[Problem]]:
    """The tree with every well-formed override in place, in order, and the problems of the others."""
    problems: list[Problem] = []
    for position, text in enumerate(overrides, start=1):
        origin = Origin(SOURCE, order=position)
        key, equals, value = text.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            problems.append(_malformed(text, origin))
            continue
        node, wrong = parse_yaml(value, lambda _, origin=origin: origin)
        if wrong:
            shown = redact(key.strip())
            problems.extend(Problem(origin, f"`{shown}`: {problem.text}", key=key) for problem in wrong)
            continue
        assigned = assign(tree, path, node or Leaf(None, origin), root)
        if isinstance(assigned, Problem):
            problems.append(assigned)
        elif isinstance(assigned, Table):
            tree = assigned
    return tree, problems


def _malformed(text: str, origin: Origin) -> Problem:
    # Only what precedes a space, a colon or an equals sign is shown: the rest may be anybody's password.
    start = redact(text).replace(":", " ").replace("=", " ").split(" ")[0]
    return Problem(
        origin,
        f"override number {origin.order} (it starts with `{start}`) is not of the form key=value",
        "Write overrides as `training.seed=1`, or `data.train.split=train_prefs`.",
    )


def expanded(node: Node, section: type[Section] | None) -> Node:
    """The mapping that a section's short form, a plain text, stands for; other nodes as they are."""
    if (
        section is None
        or section.shorthand is None
        or not isinstance(node, Leaf)
        or not isinstance(node.value, str)
    ):
        return node
    return Table({section.shorthand: node}, node.origin)


def assign(
    node: Node | None,
    path: tuple[str, ...],
    value: Node,
    section: type[Section] | None,
    done: tuple[str, ...] = (),
) -> Node | Problem:
    """The node with `value` at `path` below it; sections on the way appear where there are none.

    Args:
        node: None for nothing yet.
        path: keys, the outermost first.
        value: to put there.
        section: what the node is a mapping of, None if that does not matter.
        done: keys above the node, for the message.
    """
    if not path:
        return value
    if node is None or (isinstance(node, Leaf) and node.value is None):
        node = Table({}, value.origin)
    node = expanded(node, section)
    head, rest = path[0], path[1:]
    if isinstance(node, Table):
        inner = section_of(fields_of(section).get(head)) if section else None
        child = assign(node.children.get(head), rest, value, inner, (*done, head))
        return child if isinstance(child, Problem) else Table({**node.children, head: child}, node.origin)
    if isinstance(node, Items) and head.isdecimal() and int(head) < len(node.items):
        index = int(head)
        child = assign(node.items[index], rest, value, section, (*done, head))
        if isinstance(child, Problem):
            return child
        return Items((*node.items[:index], child, *node.items[index + 1 :]), node.origin)
    return _no_such_part(node, done, head, value.origin)


def _no_such_part(node: Node, path: tuple[str, ...], part: str, origin: Origin) -> Problem:
    shown, part = redact(".".join(path)), redact(part)
    if isinstance(node, Items):
        got = f"a list of {len(node.items)}; name an item by its position from 0, as in `{shown}.0`"
    else:
        got = "a single value, which has no parts"
    return Problem(origin, f"cannot set `{part}` in `{shown}`: {node.origin} makes it {got}")
