"""Whether a judge is right as often as it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from orpo.statistics.bootstrap import bootstrap_mean
from orpo.statistics.intervals import Estimate
from orpo.statistics.rates import Rate

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of about the same confidence."""

    confidence: float
    """Their mean."""

    accuracy: Rate


@dataclass(frozen=True)
class Calibration:
    """Predicted chances beside what happened."""

    error: float
    """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by size.
    Even of a perfect judge it is above zero, the more so the fewer predictions there are."""

    brier: Estimate
    """Mean squared distance of chance and outcome (Brier 1950); 0.25 is a judge that always says one half."""

    bins: tuple[ReliabilityBin, ...]
    """Of about equal size, from the least confident on."""


def calibrate(chances: ArrayLike, outcomes: ArrayLike, *, bins: int = BINS, seed: int = 0) -> Calibration:
    """How well `chances` agree with `outcomes`.

    The bins hold equally many predictions, for bins of equal width are nearly empty where a judge is rarely
    unsure (Nixon et al. 2019, arXiv:1904.01685).

    Args:
        chances: (N,) predicted probabilities.
        outcomes: (N,) what came: 0 or 1.
        bins: how many; fewer if there are fewer predictions.
        seed: of the interval.
    """
    predicted, came = np.asarray(chances, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    assert np.isin(came, (0, 1)).all()
    order = np.argsort(predicted, kind="stable")
    groups = np.array_split(order, min(bins, len(order)))
    table = tuple(
        ReliabilityBin(float(predicted[group].mean()), Rate(int(came[group].sum()), len(group)))
        for group in groups
    )
    error = sum(one.accuracy.trials * abs(one.confidence - one.accuracy.value) for one in table) / len(order)
    return Calibration(error, bootstrap_mean((predicted - came) ** 2, seed=seed), table)


def calibrate_margins(margins: ArrayLike, *, bins: int = BINS, seed: int = 0) -> Calibration:
    """Calibration of a reward model as a Bradley-Terry model: the sigmoid of a margin is a chance.

    Each pair is looked at from the side that the model prefers, since from the chosen side all outcomes would
    be the same.  Pairs without a preference say nothing about calibration and are left out.

    Args:
        margins: (N,) reward of the chosen response minus that of the rejected one; not all 0.
        bins: as for `calibrate`.
        seed: as for `calibrate`.
    """
    array = np.asarray(margins, dtype=np.float64)
    decided = array[array != 0]
    return calibrate(expit(np.abs(decided)), decided > 0, bins=bins, seed=seed)
