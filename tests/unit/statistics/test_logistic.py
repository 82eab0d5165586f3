from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from orpo.statistics.intervals import Floats
from orpo.statistics.logistic import fit_logistic


def data(seed: int = 0, rows: int = 300) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.ones(rows), rng.normal(size=(rows, 2))])
    return features, np.clip(expit(features @ [0.5, -1, 2]) + 0.1 * rng.normal(size=rows), 0, 1)


def test_it_finds_the_maximum_for_fractions_too() -> None:
    features, verdicts = data()

    def loss(weights: Floats) -> float:
        logits = features @ weights
        return float((np.logaddexp(0, logits) - verdicts * logits).sum())

    fit = fit_logistic(features, verdicts)
    assert fit is not None
    assert fit.coefficients == pytest.approx(minimize(loss, np.zeros(3), tol=1e-9).x, abs=1e-5)


def test_an_intercept_alone_has_the_error_of_a_share() -> None:
    verdicts = np.repeat([1.0, 0.0], [30, 10])
    fit = fit_logistic(np.ones((40, 1)), verdicts)
    assert fit is not None
    assert fit.coefficients == pytest.approx([logit(0.75)])
    assert fit.covariance[0, 0] == pytest.approx(40 / 39 / (40 * 0.75 * 0.25))


def test_copies_of_rows_are_no_new_information() -> None:
    features, verdicts = data()
    fit = fit_logistic(features, verdicts)
    copied = fit_logistic(
        np.repeat(features, 3, axis=0), np.repeat(verdicts, 3), np.repeat(np.arange(300), 3)
    )
    assert fit is not None
    assert copied is not None
    assert copied.covariance == pytest.approx(fit.covariance)


@pytest.mark.parametrize(
    ("second", "verdicts"),
    [
        ([-2, -1, 1, 2], [0, 0, 1, 1]),  # separated
        ([-2, -1, 1, 2], [1, 1, 1, 1]),
        ([1, 1, 1, 1], [0, 1, 0, 1]),  # the same column twice
    ],
)
def test_where_there_is_no_estimate_there_is_none(second: list[float], verdicts: list[float]) -> None:
    features = np.column_stack([np.ones(4), second])
    assert fit_logistic(features, np.array(verdicts, dtype=np.float64)) is None


def test_an_intercept_for_nothing_but_wins_has_no_estimate() -> None:
    assert fit_logistic(np.ones((5, 1)), np.ones(5)) is None
