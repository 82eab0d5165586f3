"""Conversations whose turns are in an order that chat templates and models do not expect."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from orpo.data.pairs import Message, Pair, Single
from orpo.doctor.findings import Example, Problem, Severity, example

ROLES = Problem(
    "roles_out_of_order",
    Severity.WARNING,
    "turns are not an optional system turn, then user and assistant in alternation",
    "Many chat templates refuse such conversations or write them wrongly. Merge turns of one speaker, drop "
    "what precedes the first user turn, and check the role names of the source.",
)
EMPTY_TURN = Problem(
    "empty_turns",
    Severity.WARNING,
    "a turn of the prompt is empty",
    "Find out whether the text was lost on the way, and remove these rows.",
)


def roles_out_of_order(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples whose prompt is a conversation with roles in a strange order."""
    hits: list[Example] = []
    for item in items:
        if isinstance(item.prompt, str):
            continue
        fault = fault_of_roles([turn.role for turn in item.prompt])
        if fault is not None:
            hits.append(example(item.where, f"{fault}: {' → '.join(turn.role for turn in item.prompt)}"))
    return hits


def fault_of_roles(roles: Sequence[str]) -> str | None:
    """What is wrong with the order of the turns before a response, or None."""
    turns = list(roles[1:] if roles and roles[0] == "system" else roles)
    if "system" in turns:
        return "a system turn that is not the first turn"
    if not turns:
        return "no user turn"
    if turns[0] != "user":
        return "the assistant speaks first"
    twice = next((first for first, second in pairwise(turns) if first == second), None)
    if twice is not None:
        return f"two {twice} turns in a row"
    if turns[-1] != "user":
        return "the response follows a turn of the assistant's own"
    return None


def empty_turns(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples whose prompt is, or has, a turn without text."""
    hits: list[Example] = []
    for item in items:
        turns = (Message("user", item.prompt),) if isinstance(item.prompt, str) else item.prompt
        empty = next((i for i, turn in enumerate(turns) if not turn.content.strip()), None)
        if empty is not None:
            hits.append(example(item.where, f"turn {empty + 1} of {len(turns)}: {turns[empty].role}"))
    return hits
