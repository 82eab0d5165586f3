"""Figures of several systems, trained with the same seeds and asked about the same items.

An interval says what other items would change: it is of the mean over seeds, with items that depend on each
other drawn together.  What other seeds would change is said by the values of each seed, which are too few for
an interval.  A difference is *decided* if it is significant over items, corrected for all pairs of systems by
Holm's method, and has the same sign with every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtr

from orpo.statistics.bootstrap import bootstrap_mean
from orpo.statistics.comparisons import Comparison, compare_scores
from orpo.statistics.diversity import across_input_leaving_out, jackknife
from orpo.statistics.intervals import NORMAL_QUANTILE, Floats, Interval
from orpo.statistics.significance import LEVEL, holm


@dataclass(frozen=True)
class Figure:
    """A system's value."""

    value: float
    """Mean over seeds and items."""

    interval: Interval
    """95 %, over items."""

    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """Between two systems; positive if the first has more."""

    first: str
    second: str
    value: float

    interval: Interval
    """95 % over items, of this difference alone."""

    p_value: float
    """Holm's, corrected for all pairs of systems."""

    by_seed: tuple[float, ...]

    @property
    def significant(self) -> bool:
        """Over items."""
        return self.p_value < LEVEL

    @property
    def seeds_agree(self) -> bool:
        """Whether it has the same sign with every seed."""
        return len({np.sign(value) for value in self.by_seed}) == 1

    @property
    def sign(self) -> int:
        """1 or -1 if it is decided which has more, else 0."""
        return int(np.sign(self.value)) if self.significant and self.seeds_agree else 0

    @property
    def reversed(self) -> Difference:
        """The second minus the first."""
        low, high = self.interval
        return Difference(
            self.second,
            self.first,
            0.0 - self.value,  # so that zero stays without a sign
            Interval(0.0 - high, 0.0 - low),
            self.p_value,
            tuple(0.0 - value for value in self.by_seed),
        )


@dataclass(frozen=True)
class Measure:
    """A quantity, of every system that has it."""

    key: str
    title: str
    items: str
    """What the intervals are over."""

    figures: Mapping[str, Figure]
    differences: tuple[Difference, ...]

    def between(self, first: str, second: str) -> Difference | None:
        """The difference of two systems, None if one of them has no value."""
        for one in self.differences:
            if (one.first, one.second) == (first, second):
                return one
            if (one.first, one.second) == (second, first):
                return one.reversed
        return None

    def sign(self, first: str, second: str) -> int:
        """1 if the first is decided to have more, -1 if less, 0 if that cannot be told."""
        found = self.between(first, second)
        return 0 if found is None else found.sign


Values = Mapping[str, Floats]
"""By system (seeds, items), of the same seeds and items."""


def mean_of_items(
    key: str, title: str, items: str, values: Values, clusters: Sequence[str] | None = None
) -> Measure:
    """A measure that is a mean over items; see the module.

    Args:
        key: its name for programs.
        title: and for people.
        items: what they are.
        values: of the systems.
        clusters: (items,) labels, equal for items that depend on each other.
    """
    means = {name: array.mean(axis=0) for name, array in values.items()}
    figures = {
        name: Figure(one.value, one.interval, tuple(map(float, values[name].mean(axis=1))))
        for name, one in ((name, bootstrap_mean(mean, clusters=clusters)) for name, mean in means.items())
    }
    differences = tuple(
        difference(one, _by_seed(figures, one)) for one in compare_scores(means, clusters=clusters)
    )
    return Measure(key, title, items, figures, differences)


def across_inputs(key: str, title: str, embeddings: Mapping[str, Floats]) -> Measure:
    """How alike the responses to different prompts are, with the jackknife over prompts.

    Args:
        key: its name for programs.
        title: and for people.
        embeddings: by system (seeds, prompts, dimensions), of the first sample of each prompt.
    """
    by_seed = {name: [across_input_leaving_out(one) for one in array] for name, array in embeddings.items()}
    figures: dict[str, Figure] = {}
    left_out: dict[str, Floats] = {}
    for name, seeds in by_seed.items():
        values = tuple(value for value, _ in seeds)
        left_out[name] = np.mean([without for _, without in seeds], axis=0)
        estimate = jackknife(float(np.mean(values)), left_out[name])
        figures[name] = Figure(estimate.value, estimate.interval, values)
    found = [
        _normal(
            first, second, figures[first].value - figures[second].value, left_out[first] - left_out[second]
        )
        for first, second in combinations(figures, 2)
    ]
    corrected = holm([one.p_value for one in found])
    differences = tuple(
        Difference(one.first, one.second, one.difference, one.interval, float(p), _by_seed(figures, one))
        for one, p in zip(found, corrected, strict=True)
    )
    return Measure(key, title, "prompts", figures, differences)


def difference(found: Comparison, by_seed: Sequence[float]) -> Difference:
    """A comparison with its value for each seed."""
    return Difference(
        found.first, found.second, found.difference, found.interval, found.corrected, tuple(by_seed)
    )


def _normal(first: str, second: str, value: float, left_out: Floats) -> Comparison:
    interval = jackknife(value, left_out).interval
    error = (interval.high - interval.low) / (2 * NORMAL_QUANTILE)
    p_value = float(2 * ndtr(-abs(value) / error)) if error > 0 else float(value == 0)
    return Comparison(first, second, value, interval, p_value, p_value)


def _by_seed(figures: Mapping[str, Figure], one: Comparison) -> tuple[float, ...]:
    pairs = zip(figures[one.first].by_seed, figures[one.second].by_seed, strict=True)
    return tuple(first - second for first, second in pairs)
