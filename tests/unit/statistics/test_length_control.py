from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.special import expit

from orpo.formats.alpaca_eval import Annotation, preferences
from orpo.formats.records import read_records
from orpo.statistics.intervals import Floats
from orpo.statistics.length_control import LengthControlled, length_controlled
from tests.paths import SHARED, needs_shared

PUBLISHED = SHARED / "data" / "alpaca_eval" / "published"


def judged(
    rng: np.random.Generator, prompts: int, *, worth: float, per_length: float
) -> tuple[Floats, Floats, Floats]:
    """Verdicts of a judge who likes length, and the lengths of both responses."""
    ours, theirs = rng.integers(200, 2000, prompts), rng.integers(100, 1500, prompts)
    longer = ours - theirs
    logits = worth + per_length * np.tanh(longer / longer.std(ddof=1))
    wins = rng.random(prompts) < expit(logits)
    return wins.astype(np.float64), ours.astype(np.float64), theirs.astype(np.float64)


def controlled(*arguments: Floats, **options: ArrayLike) -> LengthControlled:
    found = length_controlled(*arguments, **options)
    assert found is not None
    return found


def test_what_is_owed_to_length_is_taken_out() -> None:
    verdicts = judged(np.random.default_rng(0), 4000, worth=-0.4, per_length=2)
    found = controlled(*verdicts)
    assert verdicts[0].mean() > 0.5
    assert found.rate == pytest.approx(expit(-0.4), abs=0.03)
    assert found.length_effect == pytest.approx(2, abs=0.3)
    assert not found.length_effect_interval.excludes(2)


def test_without_an_effect_of_length_it_is_about_the_win_rate() -> None:
    verdicts = judged(np.random.default_rng(1), 4000, worth=0.5, per_length=0)
    found = controlled(*verdicts)
    assert found.rate == pytest.approx(verdicts[0].mean(), abs=0.02)
    assert not found.length_effect_interval.excludes(0)


@pytest.mark.parametrize("prompts", [60, 300])
def test_the_interval_covers_the_rate_at_equal_length(prompts: int) -> None:
    missed = [
        controlled(
            *judged(np.random.default_rng(seed), prompts, worth=0.3, per_length=1.2)
        ).interval.excludes(expit(0.3))
        for seed in range(500)
    ]
    assert 0.92 <= 1 - np.mean(missed) <= 0.98


def test_known_difficulties_are_averaged_over() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 2, 6000)
    ours, theirs = rng.integers(200, 2000, (2, 6000)).astype(np.float64)
    longer = ours - theirs
    logits = -2 + 1.5 * np.tanh(longer / longer.std(ddof=1)) + difficulty
    wins = (rng.random(6000) < expit(logits)).astype(np.float64)
    truth = expit(-2 + difficulty).mean()
    found = controlled(wins, ours, theirs, difficulty=difficulty)
    assert found.rate == pytest.approx(truth, abs=0.015)
    assert not found.interval.excludes(truth)
    assert found.interval.high - found.interval.low < 0.04


def test_samples_of_one_prompt_are_not_independent() -> None:
    verdicts = judged(np.random.default_rng(0), 200, worth=0.3, per_length=1)
    once = controlled(*verdicts)
    copied = controlled(*(np.repeat(one, 4) for one in verdicts), clusters=np.repeat(np.arange(200), 4))
    # The standard deviation of lengths has 799 in its denominator in place of 199.
    assert copied.interval == pytest.approx(once.interval, abs=1e-3)


@pytest.mark.parametrize(
    ("wins", "lengths"),
    [
        ([1, 0, 1, 0], [5, 5, 5, 5]),  # the same difference everywhere
        ([1, 1, 1, 1], [1, 2, 3, 4]),
        ([0, 0, 1, 1], [1, 2, 8, 9]),  # the longer, the better, without exception
        ([1], [1]),
    ],
)
def test_where_lengths_and_verdicts_do_not_tell_there_is_no_figure(
    wins: list[int], lengths: list[int]
) -> None:
    assert length_controlled(wins, lengths, np.full(len(wins), 5)) is None


@needs_shared
@pytest.mark.parametrize(
    ("file", "ours", "their_recipe", "published"),
    [
        ("guanaco-65b.alpaca_eval_gpt4.json", 53.4146, 53.43, 54.69),
        ("phi-2-sft.weighted_alpaca_eval_gpt4_turbo.json", 8.5113, 8.55, 5.85),
    ],
)
def test_on_published_verdicts_it_is_alpaca_evals_figure_without_difficulties(
    file: str, ours: float, their_recipe: float, published: float
) -> None:
    """`their_recipe` is `length_controlled_minimal` with scikit-learn; its L1 penalty makes the difference.

    The published figures need difficulties and verdicts on two more models: docs/evaluation.md.
    """
    rows = read_records(PUBLISHED / file, Annotation)
    lengths = np.array([(len(row.output_2), len(row.output_1)) for row in rows], dtype=np.float64).T
    found = controlled(preferences(rows), *lengths)
    assert 100 * found.rate == pytest.approx(ours, abs=1e-4)
    assert 100 * found.rate == pytest.approx(their_recipe, abs=0.05)
    board = json.loads((PUBLISHED / "leaderboard.json").read_text(encoding="utf-8"))
    (row,) = (row for row in board if file.startswith(row["model"]))
    assert float(row["length_controlled_winrate"]) == pytest.approx(published, abs=0.01)
    assert abs(100 * found.rate - published) > 1
