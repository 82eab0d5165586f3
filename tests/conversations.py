"""Short ways to write pairs and conversations in tests."""

from __future__ import annotations

from orpo.data.pairs import Message, Pair
from orpo.data.templates import Prompt


def chat(*contents: str, system: str | None = None) -> tuple[Message, ...]:
    """Turns of user and assistant in alternation, the user's first, after an optional system turn."""
    roles = ("user", "assistant")
    turns = tuple(Message(roles[i % 2], content) for i, content in enumerate(contents))
    return turns if system is None else (Message("system", system), *turns)


def pair(
    prompt: Prompt, chosen: str = " the answer", rejected: str = " no answer", where: str = "a.jsonl:1"
) -> Pair:
    """A pair with responses that differ."""
    return Pair(prompt, chosen, rejected, where)
