from __future__ import annotations

import numpy as np
import pytest

from orpo.statistics.comparisons import compare_scores, compare_win_rates
from orpo.statistics.significance import holm
from orpo.statistics.winrate import win_rate

RNG = np.random.default_rng(0)
ITEMS = RNG.normal(size=80)
SCORES = {
    "sft": ITEMS + 0.3 * RNG.normal(size=80),
    "orpo": ITEMS + 0.3 * RNG.normal(size=80) + 0.4,
    "dpo": ITEMS + 0.3 * RNG.normal(size=80) + 0.4,
}


def test_every_pair_is_compared_on_the_same_items() -> None:
    found = {(one.first, one.second): one for one in compare_scores(SCORES)}
    assert list(found) == [("sft", "orpo"), ("sft", "dpo"), ("orpo", "dpo")]
    worse, _, same = found.values()
    assert worse.difference == pytest.approx(np.mean(SCORES["sft"] - SCORES["orpo"]))
    assert worse.interval.high < 0
    assert worse.significant
    assert not same.significant
    assert not same.interval.excludes(0)


def test_p_values_are_corrected_for_the_family() -> None:
    found = compare_scores(SCORES)
    assert [one.corrected for one in found] == pytest.approx(holm([one.p_value for one in found]))
    assert found[0].corrected > found[0].p_value


def test_a_difference_alone_may_be_significant_and_among_many_not() -> None:
    lucky = win_rate(np.repeat([1, 0], [16, 5]))
    (alone,) = compare_win_rates({("a", "b"): lucky})
    even = win_rate(np.repeat([1, 0], [11, 10]))
    among = compare_win_rates({("a", "b"): lucky, ("a", "c"): even, ("b", "c"): even})[0]
    assert alone.difference == pytest.approx(16 / 21 - 0.5)
    assert alone.interval.low == pytest.approx(lucky.interval.low - 0.5)
    assert alone.p_value < 0.05
    assert alone.significant
    assert not among.significant


def test_samples_of_one_prompt_do_not_make_a_difference_significant() -> None:
    few = {name: values[:4] for name, values in SCORES.items()}
    many = {name: np.repeat(values, 20) for name, values in few.items()}
    assert not any(one.significant for one in compare_scores(many, clusters=np.repeat(np.arange(4), 20)))
    assert any(one.significant for one in compare_scores(many))
