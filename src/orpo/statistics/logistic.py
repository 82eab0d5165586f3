"""Logistic regression for verdicts that may be fractions and may depend on each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from orpo.statistics.intervals import Floats

_MOST_STEPS = 50


@dataclass(frozen=True)
class LogisticFit:
    """Maximum-likelihood coefficients and their covariance."""

    coefficients: Floats
    """(features,)"""

    covariance: Floats
    """(features, features), the sandwich estimate, clustered if clusters were given."""


def fit_logistic(features: Floats, verdicts: Floats, clusters: ArrayLike | None = None) -> LogisticFit | None:
    """Fit P(win) = sigmoid(features · coefficients) by Newton's method.

    Args:
        features: (N, features); a column of ones is the intercept.
        verdicts: (N,) in [0, 1].
        clusters: (N,) labels; verdicts with the same label may depend on each other.

    Returns:
        The fit, or None where none exists: the features separate the verdicts, or one is a mixture of others.
    """
    coefficients = np.zeros(features.shape[1])
    for _ in range(_MOST_STEPS):
        chances = expit(features @ coefficients)
        information = (features * (chances * (1 - chances))[:, None]).T @ features
        if np.linalg.cond(information) > 1 / np.finfo(np.float64).eps:
            return None
        step = np.linalg.solve(information, features.T @ (verdicts - chances))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            return LogisticFit(coefficients, _covariance(features, verdicts, coefficients, clusters))
    return None


def _covariance(
    features: Floats, verdicts: Floats, coefficients: Floats, clusters: ArrayLike | None
) -> Floats:
    chances = expit(features @ coefficients)
    scores = features * (verdicts - chances)[:, None]
    if clusters is not None:
        labels = np.unique(np.asarray(clusters), return_inverse=True)[1]
        scores = np.stack([np.bincount(labels, column) for column in scores.T], axis=1)
    units = len(scores)
    bread = np.linalg.inv((features * (chances * (1 - chances))[:, None]).T @ features)
    return bread @ (scores.T @ scores) @ bread * units / max(1, units - 1)
