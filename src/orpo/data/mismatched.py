"""Prompts with a response to another prompt, from which KTO estimates how far a policy has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orpo.data.pairs import TokenizedPair


@dataclass(frozen=True)
class Mismatch:
    """Prompts with responses to other prompts, and what the reference makes of them."""

    pairs: Sequence[TokenizedPair]

    reference: float
    """Sum of the responses' log-probabilities under the reference model."""


def mismatched(pairs: Sequence[TokenizedPair], max_length: int) -> list[TokenizedPair]:
    """Each response's prompt with the response before it in the batch; the first has the last one's.

    Args:
        pairs: a global batch, or all rows of an evaluation; a pair has two responses.
        max_length: most tokens of prompt + response; longer responses are cut.

    Returns:
        Single responses of weight 1, as many as there are responses.
    """
    responses = [(pair, response) for pair in pairs for response in (pair.chosen, pair.rejected) if response]
    return [
        TokenizedPair(
            prompt=pair.prompt,
            chosen=other[: max(1, max_length - len(pair.prompt))],
            rejected=(),
            where=f"{pair.where}, with a response from {origin.where}",
        )
        for (pair, _), (origin, other) in zip(responses, responses[-1:] + responses[:-1], strict=True)
    ]
