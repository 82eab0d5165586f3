"""Diversity of responses by the cosines of their embeddings: the less alike, the more diverse.

Hong, Lee, Thorne 2024, Section 6.3.  Both figures are plain means of cosines over pairs, which is what the
values of their Table 4 are; Eq. 13 as printed would give a quarter of that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from orpo.statistics.intervals import NORMAL_QUANTILE, Estimate, Floats, Interval


def per_input_similarity(embeddings: ArrayLike) -> Floats:
    """How alike the responses to one prompt are; per-input diversity is its mean over prompts.

    Args:
        embeddings: (prompts, samples, dimensions), at least two samples, none of them zero.

    Returns:
        (prompts,) mean cosine over all pairs of a prompt's samples.
    """
    unit = _unit(embeddings)
    assert unit.ndim == 3
    return _mean_cosine(unit.sum(axis=1), unit.shape[1])


def across_input_similarity(embeddings: ArrayLike) -> Estimate:
    """How alike the responses to different prompts are: the mean cosine over all pairs of prompts.

    The paper takes the first sample of each prompt.  The interval is normal with the jackknife's standard
    error: pairs that share a prompt depend on each other, and a bootstrap would pair prompts with themselves.

    Args:
        embeddings: (prompts, dimensions), at least three prompts, no embedding zero.
    """
    return jackknife(*across_input_leaving_out(embeddings))


def across_input_leaving_out(embeddings: ArrayLike) -> tuple[float, Floats]:
    """The mean cosine over all pairs of prompts, and (prompts,) what it is without each of them.

    Args:
        embeddings: as for `across_input_similarity`.
    """
    unit = _unit(embeddings)
    prompts = len(unit)
    assert unit.ndim == 2
    assert prompts >= 3
    total = unit.sum(axis=0)
    return float(_mean_cosine(total, prompts)), _mean_cosine(total - unit, prompts - 1)


def jackknife(value: float, left_out: Floats) -> Estimate:
    """A value with its normal interval, from what it is without each of its units."""
    units = len(left_out)
    spread = NORMAL_QUANTILE * np.sqrt((units - 1) * left_out.var())
    return Estimate(value, Interval(float(value - spread), float(value + spread)), units)


def _mean_cosine(total: Floats, number: int) -> Floats:
    """Mean over all pairs of `number` unit vectors (last axis) from their sum alone."""
    return ((total**2).sum(axis=-1) - number) / (number * (number - 1))


def _unit(embeddings: ArrayLike) -> Floats:
    array = np.asarray(embeddings, dtype=np.float64)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    assert np.all(norms > 0), "an embedding is zero or not a number"
    return array / norms
