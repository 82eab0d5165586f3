"""Is there anything to learn?  A classifier of bags of words, which takes a second, tries to tell the labels.

It sees the words and pairs of words in which the two responses differ and learns, by logistic regression
(the Bradley-Terry model with words as features), which ones the chosen side has.  Its accuracy is on pairs
that it was not fitted to; pairs of one prompt are never on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit

from orpo.data.pairs import Pair
from orpo.doctor.findings import Finding, Problem, Severity
from orpo.doctor.words import prompt_text, words
from orpo.statistics.rates import Rate

NO_SIGNAL = Problem(
    "no_cheap_signal",
    Severity.NOTE,
    "neither words nor length tell which response is the chosen one",
    "The difference may be subtle, or the labels may be noise: read twenty pairs yourself before you train.",
)

FEWEST_PAIRS = 100
"""With fewer the interval says nothing."""

MOST_PAIRS = 5000
"""Of more, this many are taken at even distances."""

_FOLDS = 5
_FEATURES = 2**16
_MOST_WORDS = 500
"""Words of a response that are looked at."""

_PENALTY = 1.0
_ABOUT_EQUAL = 1.1
"""Longer over shorter response, at most, for lengths to be about equal."""

Matrix = csr_array


@dataclass(frozen=True)
class Signal:
    """How well words predict the label of pairs that were not seen."""

    words: Rate
    """Over all pairs."""

    words_at_equal_length: Rate
    """Over those whose responses differ by at most a tenth in length."""


def signal_of_words(pairs: Sequence[Pair]) -> Signal | None:
    """The cross-validated accuracy of a bag-of-words classifier; None for fewer than `FEWEST_PAIRS`.

    Also None where so few prompts are different that a fold would be empty.
    """
    if len(pairs) < FEWEST_PAIRS:
        return None
    step = -(-len(pairs) // MOST_PAIRS)
    sample = pairs[::step]
    folds = np.array([crc32(prompt_text(pair.prompt).encode()) % _FOLDS for pair in sample])
    if len(np.unique(folds)) < _FOLDS:
        return None
    features = _differences(sample)
    right = np.zeros(len(sample), dtype=bool)
    for fold in range(_FOLDS):
        inside = np.flatnonzero(folds == fold)
        weights = _fit(features[np.flatnonzero(folds != fold)])
        right[inside] = features[inside] @ weights > 0
    lengths = np.array([(len(pair.chosen), len(pair.rejected)) for pair in sample])
    equal = lengths.max(axis=1) <= _ABOUT_EQUAL * lengths.min(axis=1)
    return Signal(_rate(right), _rate(right[equal]))


def silence(use: str, signal: Signal | None, length_bias: Rate) -> list[Finding]:
    """A finding if chance is within the intervals of words and of length."""
    if signal is None or signal.words.interval[0] > 0.5:
        return []
    low, high = length_bias.interval
    if not low <= 0.5 <= high:
        return []
    return [Finding(NO_SIGNAL, use, signal.words.trials, signal.words.trials, ())]


def _rate(right: NDArray[np.bool_]) -> Rate:
    return Rate(int(right.sum()), len(right))


def _differences(pairs: Sequence[Pair]) -> Matrix:
    """(N, features) unit rows: positive where only the chosen response has a feature, negative where only the
    rejected one has it.
    """
    columns: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float64]] = []
    for pair in pairs:
        chosen, rejected = (set(_features(text)) for text in (pair.chosen, pair.rejected))
        ours, theirs = sorted(chosen - rejected), sorted(rejected - chosen)
        signs = np.repeat([1.0, -1.0], [len(ours), len(theirs)])
        columns.append(np.array(ours + theirs, dtype=np.int32))
        values.append(signs / max(1.0, np.sqrt(len(signs))))
    starts = np.cumsum([0, *map(len, columns)])
    return csr_array((np.concatenate(values), np.concatenate(columns), starts), (len(pairs), _FEATURES))


def _features(text: str) -> Iterator[int]:
    """Hashes of words and of pairs of words that follow each other."""
    found = words(text)[:_MOST_WORDS]
    doubles = (f"{first} {second}" for first, second in pairwise(found))
    return (crc32(feature.encode()) % _FEATURES for feature in chain(found, doubles))


def _fit(features: Matrix) -> NDArray[np.float64]:
    """(features,) weights that make the chosen side of these pairs likely, with a ridge penalty."""

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = features @ weights
        value = np.logaddexp(0, -margins).sum() + _PENALTY / 2 * weights @ weights
        return float(value), _PENALTY * weights - features.T @ expit(-margins)

    start = np.zeros(_FEATURES)
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 50}).x
