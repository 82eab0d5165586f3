"""What is recommended follows from what is decided, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orpo.comparison.figures import all_measures
from orpo.comparison.recommendation import Recommendation, recommend
from orpo.comparison.winrates import judged
from orpo.statistics.hashed_ngrams import HashedNgrams
from tests.unit.comparison.evidence import Shifts, evidence, plan
from tests.unit.comparison.test_winrates import Liking, assessment


def advice(folder: Path, shifts: Shifts, judge: Liking | None = None, *, fit: bool = True) -> Recommendation:
    found = evidence(plan(folder), shifts)
    wins = judged(found, judge, assessment(fit=fit), folder / "judgements") if judge is not None else None
    return recommend(found, all_measures(found, None), wins)


def test_a_difference_that_may_be_chance_is_no_reason(tmp_path: Path) -> None:
    known = evidence(plan(tmp_path), {"sft": (0.05, -0.05)})
    measures = all_measures(known, None)
    figures = measures["accuracy"].figures
    assert figures["sft"].value > figures["base"].value
    found = recommend(known, measures, None)
    assert (found.systems, found.criterion) == ((), "accuracy")
    assert any("no system is decided to have a better pair accuracy" in one for one in found.reasons)


def test_without_a_judge_pair_accuracy_decides_among_what_still_writes(tmp_path: Path) -> None:
    better = {"orpo-lambda-1.0": (0.1, -2.0), "dpo": (-3.0, -6.0)}
    found = advice(tmp_path, better)
    assert found.systems == ("orpo-lambda-1.0",)
    assert any(one.startswith("dpo is left out: chosen responses are less likely") for one in found.reasons)
    assert any("there is no judge" in one for one in found.reasons)


def test_of_equals_the_cheapest_is_recommended(tmp_path: Path) -> None:
    better = {"sft": (0.1, -2.0), "orpo-lambda-1.0": (0.1, -2.0), "dpo": (0.1, -2.0)}
    found = advice(tmp_path, better)
    assert found.systems == ("sft",)
    assert any("nothing decides between dpo and sft, which costs less" in one for one in found.reasons)


def test_equals_of_the_same_cost_are_named_together(tmp_path: Path) -> None:
    better = {"orpo-lambda-0.1": (0.1, -2.0), "orpo-lambda-1.0": (0.1, -2.0)}
    assert advice(tmp_path, better).systems == ("orpo-lambda-0.1", "orpo-lambda-1.0")


def test_a_judge_that_is_fit_decides(tmp_path: Path) -> None:
    found = advice(tmp_path, {"sft": (0.1, -2.0)}, Liking("dpo"))
    assert (found.systems, found.criterion) == (("dpo",), "win_rate")
    assert any(one.startswith("dpo is better than sft (win rate 100.0%") for one in found.reasons)
    assert any(one == "sft is worse than dpo" for one in found.reasons)


def test_a_judge_that_is_not_fit_does_not(tmp_path: Path) -> None:
    found = advice(tmp_path, {"sft": (0.1, -2.0)}, Liking("dpo"), fit=False)
    assert (found.systems, found.criterion) == (("sft",), "accuracy")
    assert any("may not judge" in one for one in found.reasons)


def test_seeds_that_disagree_are_no_reason(tmp_path: Path) -> None:
    assert advice(tmp_path, {}, Liking("dpo", fickle=True)).systems == ()


def test_what_failed_with_a_seed_is_no_candidate(tmp_path: Path) -> None:
    found = evidence(plan(tmp_path), {"sft": (0.1, -2.0)})
    trained = {**found.trained, "sft": {1: found.trained["sft"][1]}}
    less = replace(found, trained=trained, failures={**found.failures, "sft": {2: "not finite"}})
    assert "sft" not in less.compared
    assert recommend(less, all_measures(less, None), None).systems == ()


def test_the_price_in_diversity_is_named(tmp_path: Path) -> None:
    def say(name: str, seed: int, prompt: int, sample: int) -> str:
        return (
            f"the same to {prompt}" if name == "orpo-lambda-1.0" else f"{seed} {7 ** (prompt + 9 * sample)}"
        )

    found = evidence(plan(tmp_path), {"orpo-lambda-1.0": (0.1, -2.0)}, say)
    reasons = recommend(found, all_measures(found, HashedNgrams()), None).reasons
    assert any(one.startswith("its price: orpo-lambda-1.0 says more alike things") for one in reasons)
