"""Transcripts in the form of Anthropic's HH data: turns that begin with `\\n\\nHuman:` or `\\n\\nAssistant:`.

The response is what follows the last `\\n\\nAssistant:`.  A transcript may also begin with a marker without
the two line ends before it, as it does once somebody has stripped the text.  HelpSteer2 marks turns in
another way, `<extra_id_1>User` and `<extra_id_1>Assistant`, and leaves the first one unmarked.
"""

from __future__ import annotations

import re

from orpo.data.pairs import Message, UnusableRowError

NOT_THE_ASSISTANTS = "last turn is not the assistant's"
PREAMBLE = "transcript has text before its first turn"
NO_PROMPT = "no turn before the response"

_MARKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_STEER_MARKER = re.compile(r"<extra_id_1>(User|Assistant)\n")
_ROLES = {"Human": "user", "User": "user", "Assistant": "assistant"}


def is_transcript(text: str) -> bool:
    """Whether the text has a turn of the assistant's."""
    return any(match[1] == "Assistant" for match in _MARKER.finditer(text))


def split_transcript(text: str) -> tuple[str, str]:
    """Prompt, up to and including the last `\\n\\nAssistant:`, and the response after it; both verbatim.

    Raises:
        UnusableRowError: the last turn is not the assistant's.
    """
    *_, last = None, *_MARKER.finditer(text)
    if last is None or last[1] != "Assistant":
        raise UnusableRowError(NOT_THE_ASSISTANTS)
    return text[: last.end()], text[last.end() :]


def transcript_turns(prompt: str) -> tuple[Message, ...]:
    """The turns of a transcript's prompt as messages, contents stripped, empty ones kept.

    Turns of one speaker after another stay separate, as does an assistant's turn at the start.

    Raises:
        UnusableRowError: there is text before the first turn, which would belong to no message, or no turn.
    """
    preamble, *parts = _MARKER.split(prompt)
    if preamble.strip():
        raise UnusableRowError(PREAMBLE)
    turns = tuple(
        Message(_ROLES[speaker], content.strip())
        for speaker, content in zip(parts[:-2:2], parts[1:-2:2], strict=True)
    )
    if not turns:
        raise UnusableRowError(NO_PROMPT)
    return turns


def embedded_turns(prompt: str) -> tuple[Message, ...] | None:
    """The turns of a prompt that is a transcript up to a response, as in Nectar and HelpSteer2; None for text
    that is one turn."""
    if _MARKER.match(prompt):
        *_, last = _MARKER.finditer(prompt)
        if last[1] == "Assistant" and not prompt[last.end() :].strip():
            return transcript_turns(prompt)
    first, *parts = _STEER_MARKER.split(prompt)
    if not parts:
        return None
    marked = zip(parts[::2], parts[1::2], strict=True)
    return (
        Message("user", first.strip()),
        *(Message(_ROLES[speaker], content.strip()) for speaker, content in marked),
    )
