"""Prompts with a response to another prompt, from which KTO estimates how far a policy has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from orpo.data.batching import Indices, Lengths
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs


@dataclass(frozen=True, eq=False)
class Mismatched(Sequence[TokenizedPair]):
    """N prompts, each with a response to another one; made only when they are looked at.

    Args:
        responses: single responses.
        prompts: (N,) which of them gives the prompt.
        others: (N,) which of them gives the response.
        max_length: most tokens of prompt + response; longer responses are cut.
    """

    responses: TokenizedPairs
    prompts: Indices
    others: Indices
    max_length: int

    @classmethod
    def of(cls, responses: TokenizedPairs, batches: Sequence[Indices], max_length: int) -> Mismatched:
        """Within each batch, every prompt with the response before its own, the first with the last one's."""
        others = [np.roll(indices, 1) for indices in batches]
        return cls(responses, np.concatenate(batches), np.concatenate(others), max_length)

    @property
    def lengths(self) -> Lengths:
        """(N, 3) tokens of prompt, response, and nothing."""
        prompts = self.responses.lengths[self.prompts, 0]
        room = np.maximum(self.max_length - prompts, 1)
        cut = np.minimum(self.responses.lengths[self.others, 1:].sum(axis=1), room)
        return np.stack([prompts, cut, np.zeros_like(prompts)], axis=1).astype(np.int32)

    def __len__(self) -> int:
        return len(self.prompts)

    @overload
    def __getitem__(self, index: int) -> TokenizedPair: ...
    @overload
    def __getitem__(self, index: slice) -> Mismatched: ...
    def __getitem__(self, index: int | slice) -> TokenizedPair | Mismatched:
        if isinstance(index, slice):
            return Mismatched(self.responses, self.prompts[index], self.others[index], self.max_length)
        own, other = self.responses[self.prompts[index]], self.responses[self.others[index]]
        room = max(self.max_length - len(own.prompt), 1)
        return TokenizedPair(
            prompt=own.prompt,
            chosen=(other.chosen or other.rejected)[:room],
            rejected=(),
            where=f"{own.where}, with a response from {other.where}",
        )


Scorable = TokenizedPairs | Mismatched
"""What has responses and knows their lengths."""


@dataclass(frozen=True)
class Mismatch:
    """Mismatched prompts and responses, and what the reference makes of them."""

    pairs: Mismatched

    reference: float
    """Sum of the responses' log-probabilities under the reference model."""
