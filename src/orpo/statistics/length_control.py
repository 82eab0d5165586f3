"""Win rate at equal length: what a judge's preference would be if neither response were the longer one.

After AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475): the verdict on instruction x is modelled as

    P(win) = sigmoid(theta + phi * tanh(d_x / s) + psi * gamma_x),   d_x = length - baseline's length

with s the standard deviation of d, and the figure is the mean over x of the chance at d = 0.  gamma_x, the
difficulty of x, was fitted by its authors to all models of their leaderboard; without it the last term is
absent, as in their `length_controlled_minimal`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from orpo.statistics.intervals import NORMAL_QUANTILE, Interval
from orpo.statistics.logistic import fit_logistic


@dataclass(frozen=True)
class LengthControlled:
    """The win rate at equal length; shares are in [0, 1]."""

    rate: float
    interval: Interval
    """Normal on the scale of log-odds, from the sandwich covariance (by the delta method)."""

    length_effect: float
    """phi: by how much being much longer raises the log-odds of a win; positive if the judge likes length."""

    length_effect_interval: Interval


def length_controlled(
    preferences: ArrayLike,
    lengths: ArrayLike,
    baseline_lengths: ArrayLike,
    *,
    difficulty: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
) -> LengthControlled | None:
    """The length-controlled win rate.

    Args:
        preferences: (N,) in [0, 1], as for `win_rate`.
        lengths: (N,) of the system's responses; AlpacaEval counts characters.
        baseline_lengths: (N,) of the responses that they were compared with.
        difficulty: (N,) of the instructions, known from elsewhere.
        clusters: (N,) labels, equal for comparisons on the same prompt.

    Returns:
        None where the verdicts do not allow it: all are the same, length alone tells them, or lengths differ
        by the same amount everywhere.
    """
    verdicts = np.asarray(preferences, dtype=np.float64)
    longer = np.asarray(lengths, dtype=np.float64) - np.asarray(baseline_lengths, dtype=np.float64)
    if len(longer) < 2 or np.ptp(longer) == 0:
        return None
    at_equal_length = np.stack([np.ones_like(longer), np.zeros_like(longer)], axis=1)
    if difficulty is not None:
        at_equal_length = np.column_stack([at_equal_length, np.asarray(difficulty, dtype=np.float64)])
    features = at_equal_length.copy()
    features[:, 1] = np.tanh(longer / longer.std(ddof=1))
    fit = fit_logistic(features, verdicts, clusters)
    if fit is None:
        return None
    chances = expit(at_equal_length @ fit.coefficients)
    rate = float(chances.mean())
    slope = (at_equal_length * (chances * (1 - chances))[:, None]).mean(axis=0) / (rate * (1 - rate))
    spread = NORMAL_QUANTILE * np.sqrt(slope @ fit.covariance @ slope)
    effect, effect_spread = fit.coefficients[1], NORMAL_QUANTILE * np.sqrt(fit.covariance[1, 1])
    return LengthControlled(
        rate=rate,
        interval=Interval(float(expit(logit(rate) - spread)), float(expit(logit(rate) + spread))),
        length_effect=float(effect),
        length_effect_interval=Interval(float(effect - effect_spread), float(effect + effect_spread)),
    )
