"""Pairs to evaluate on, held out by prompt: no prompt is on both sides."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence

from orpo.data.pairs import Prompt
from orpo.data.tokenized import KEY_BYTES
from orpo.errors import ConfigError, DataError


def prompt_key(prompt: Prompt) -> bytes:
    """What tells a prompt from all others; text and messages with the same letters are different prompts."""
    content = prompt if isinstance(prompt, str) else [[turn.role, turn.content] for turn in prompt]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=KEY_BYTES).digest()


def hold_out(prompt_keys: Sequence[bytes], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split examples into those to train on and those to evaluate on, each in their order.

    All examples of one prompt go to the same side.  The prompts held out are the first ones in an order that
    depends on the seed and on nothing else, as far as their examples fit; so the share of what is held out is
    at most `fraction`, rounded, and a prompt keeps its place in that order when rows are added.

    Args:
        prompt_keys: (N,) `prompt_key` of each example.
        fraction: share of the examples to hold out, in (0, 1).
        seed: which prompts are held out.

    Returns:
        Indices to train on, and indices to evaluate on.

    Raises:
        ConfigError: `fraction` is not in (0, 1).
        DataError: too few prompts, or too many examples of each, to leave something on both sides.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction to hold out: expected a number between 0 and 1, got {fraction}")
    members: dict[bytes, list[int]] = defaultdict(list)
    for index, key in enumerate(prompt_keys):
        members[key].append(index)
    total = len(prompt_keys)
    room = min(max(1, round(fraction * total)), total - 1)
    held_out: set[int] = set()
    for key in sorted(members, key=lambda key: _rank(key, seed)):
        if len(held_out) + len(members[key]) <= room:
            held_out.update(members[key])
    if not held_out:
        raise DataError(
            f"cannot hold out {room} of {total} pairs: they have {len(members)} different prompts, "
            "and all pairs of a prompt stay together",
            hint="Hold out a larger fraction, or name a source for `data.eval`.",
        )
    return [index for index in range(total) if index not in held_out], sorted(held_out)


def _rank(key: bytes, seed: int) -> bytes:
    """The place of a prompt in the order that `seed` gives."""
    return hashlib.blake2b(seed.to_bytes(8, "big") + key, digest_size=KEY_BYTES).digest()
