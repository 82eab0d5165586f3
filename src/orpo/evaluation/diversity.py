"""How alike the responses of a model are: to one prompt, and to different ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from orpo.evaluation.embedders import Embedder
from orpo.evaluation.figures import estimated, mean
from orpo.rundir.evaluations import DiversityEvaluation, Figure
from orpo.statistics.diversity import across_input_similarity, per_input_similarity
from orpo.statistics.intervals import Floats
from orpo.statistics.ngrams import Tokens, distinct_n, self_bleu, tokenize

LONGEST_NGRAMS = 3
"""Of distinct-n, from 1 on."""

_FEWEST_ACROSS = 3
"""Prompts of the figure across prompts."""

_AT_ONCE = 64
"""Prompts whose responses are embedded together."""


def diversity(responses: Sequence[Sequence[str]], embedder: Embedder) -> DiversityEvaluation:
    """Figures of diversity, as the paper has them (Section 6.3), and by the words that are shared.

    Args:
        responses: samples of each prompt, equally many and at least two.
        embedder: whose cosines are taken.
    """
    per_input, firsts = _similarities(responses, embedder)
    tokens = [[tokenize(text) for text in samples] for samples in responses]
    distinct = {str(n): _distinct(tokens, n) for n in range(1, LONGEST_NGRAMS + 1)}
    return DiversityEvaluation(
        embedder=embedder.name,
        comparable_with_paper=embedder.comparable_with_paper,
        per_input=mean(per_input),
        across_inputs=(
            estimated(across_input_similarity(firsts), method="normal, jackknife")
            if len(firsts) >= _FEWEST_ACROSS
            else None
        ),
        distinct_n={n: figure for n, figure in distinct.items() if figure is not None},
        self_bleu=mean([self_bleu(samples) for samples in tokens]),
    )


def _similarities(responses: Sequence[Sequence[str]], embedder: Embedder) -> tuple[Floats, Floats]:
    """(prompts,) mean cosine between the samples of each, and (prompts, dimensions) of the first samples."""
    similarities: list[Floats] = []
    firsts: list[Floats] = []
    for start in range(0, len(responses), _AT_ONCE):
        part = responses[start : start + _AT_ONCE]
        embedded = _without_zeros(embedder.embed(list(chain.from_iterable(part))))
        by_prompt = embedded.reshape(len(part), -1, embedded.shape[-1])
        similarities.append(per_input_similarity(by_prompt))
        firsts.append(by_prompt[:, 0].copy())
    return np.concatenate(similarities), np.concatenate(firsts)


def _without_zeros(embeddings: Floats) -> Floats:
    """The same cosines with a dimension more, which only zero embeddings have: these are like each other,
    and like nothing else.  Some embedders make zeros of empty texts."""
    is_zero = np.linalg.norm(embeddings, axis=-1, keepdims=True) == 0
    return np.concatenate([embeddings, is_zero], axis=-1)


def _distinct(tokens: Sequence[Sequence[Tokens]], n: int) -> Figure | None:
    """Mean over prompts whose samples have `n` tokens in a row; None without one."""
    values = [value for samples in tokens if (value := distinct_n(samples, n)) is not None]
    return mean(values) if values else None
