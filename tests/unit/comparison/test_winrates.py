"""Win rates over seeds, prompts and samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orpo.comparison.claims import Verdict, judge_claims
from orpo.comparison.figures import all_measures
from orpo.comparison.winrates import WinRates, judged
from orpo.judging.verdicts import Question, preferring
from orpo.judging.verdicts import Verdict as Said
from orpo.rundir.records import Assessment, LengthRule, Share
from tests.unit.comparison.evidence import evidence, plan


class Liking:
    """Prefers what a word is in; with even seeds only, if so asked."""

    name = "liking"
    both_orders = False

    def __init__(self, word: str, *, fickle: bool = False) -> None:
        self._word, self._fickle = word, fickle

    def judge(self, questions: Sequence[Question]) -> list[Said]:
        return [preferring(self._prefers(one)) for one in questions]

    def _prefers(self, one: Question) -> float:
        liked = [self._word in text for text in (one.first, one.second)]
        if liked[0] == liked[1]:
            return 0.5
        agrees = not self._fickle or "with 2" in one.first
        return float(liked[0] == agrees)


def assessment(*, fit: bool) -> Assessment:
    return Assessment(
        pairs=100,
        accuracy=Share(rate=0.8, low=0.7, high=0.9),
        by_length=LengthRule(rate=0.6, low=0.5, high=0.7, rule="longer wins", p_value=0.01),
        fit_to_judge=fit,
        calibration=None,
    )


def wins(folder: Path, judge: Liking, *, fit: bool = True) -> WinRates:
    found = judged(evidence(plan(folder), {}), judge, assessment(fit=fit), folder / "judgements")
    assert found is not None
    return found


def test_what_is_liked_wins_with_every_seed(tmp_path: Path) -> None:
    found = wins(tmp_path, Liking("dpo"))
    between = found.measure.between("dpo", "sft")
    assert between is not None
    assert between.value == pytest.approx(0.5)
    assert between.by_seed == pytest.approx((0.5, 0.5))
    assert found.measure.figures["dpo"].value == pytest.approx(1.0)
    assert found.strengths[0].name == "dpo"
    assert len(found.measure.differences) == 10


def test_seeds_are_told_apart(tmp_path: Path) -> None:
    between = wins(tmp_path, Liking("dpo", fickle=True)).measure.between("dpo", "sft")
    assert between is not None
    assert between.by_seed == pytest.approx((-0.5, 0.5))
    assert between.sign == 0


@pytest.mark.parametrize(("fit", "verdict"), [(True, Verdict.HOLDS), (False, Verdict.UNKNOWN)])
def test_a_claim_about_wins_needs_a_judge_that_is_fit(tmp_path: Path, fit: bool, verdict: Verdict) -> None:
    found = evidence(plan(tmp_path), {})
    win_rates = judged(found, Liking("orpo"), assessment(fit=fit), tmp_path / "judgements")
    sixth = judge_claims(found, all_measures(found, None), win_rates)[5]
    assert sixth.verdict == verdict
    assert all("win rate 100.0%" in part.figures for part in sixth.parts)


def test_a_judge_without_verdicts_has_no_win_rates(tmp_path: Path) -> None:
    class Silent(Liking):
        def judge(self, questions: Sequence[Question]) -> list[Said]:
            from orpo.judging.verdicts import Status

            return [Said(Status.INVALID, reason="silent") for _ in questions]

    assert judged(evidence(plan(tmp_path), {}), Silent(""), None, tmp_path / "judgements") is None
