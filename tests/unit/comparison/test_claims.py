"""Claims hold, do not hold, or cannot be told, as the data have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orpo.comparison.claims import Claim, Verdict, judge_claims
from orpo.comparison.figures import all_measures
from orpo.evaluation.embedders import Embedder
from orpo.statistics.hashed_ngrams import HashedNgrams
from tests.unit.comparison.evidence import TEXT, Say, Shifts, evidence, plan, says


def claims(
    folder: Path,
    shifts: Shifts,
    *,
    text: str = TEXT,
    say: Say = says,
    peaks: Mapping[str, float] | None = None,
    embedder: Embedder | None = None,
) -> dict[int, Claim]:
    """By number."""
    found = evidence(plan(folder, text), shifts, say, peaks)
    measures = all_measures(found, embedder)
    return {one.number: one for one in judge_claims(found, measures, None)}


def verdicts(claim: Claim) -> Mapping[str, Verdict]:
    return {part.what: part.verdict for part in claim.parts}


def test_the_paper_in_small_holds(tmp_path: Path) -> None:
    found = claims(
        tmp_path,
        {"sft": (0.5, 0.4), "orpo-lambda-0.1": (0.4, 0.35), "orpo-lambda-1.0": (0.45, -1.0)},
    )
    assert [found[number].verdict for number in (1, 2)] == [Verdict.HOLDS] * 2
    third = verdicts(found[3])
    assert third["orpo-lambda-0.1: chosen rises"] == Verdict.HOLDS
    assert third["orpo-lambda-0.1: chosen and rejected stay close"] == Verdict.HOLDS
    assert third["orpo-lambda-1.0: its margin is wider than that of orpo-lambda-0.1"] == Verdict.HOLDS
    assert third["orpo-lambda-1.0: chosen falls"] == Verdict.FAILS
    assert found[3].verdict == Verdict.FAILS


def test_the_opposite_does_not_hold(tmp_path: Path) -> None:
    found = claims(tmp_path, {"sft": (0.5, -0.4), "orpo-lambda-1.0": (-1.0, 0.3)})
    assert [found[number].verdict for number in (1, 2, 3)] == [Verdict.FAILS] * 3
    parts = verdicts(found[2])
    assert set(parts.values()) == {Verdict.FAILS}


def test_noise_cannot_be_told(tmp_path: Path) -> None:
    found = claims(tmp_path, {})
    assert found[1].verdict == Verdict.UNKNOWN
    assert verdicts(found[2])["orpo-lambda-1.0: chosen is on par with sft"] == Verdict.HOLDS


def test_claims_without_a_system_are_not_tested(tmp_path: Path) -> None:
    only_dpo = "\n".join(line for line in TEXT.split("\n") if "orpo, " not in line)
    found = claims(tmp_path, {"sft": (0.5, 0.4)}, text=only_dpo)
    assert {number for number, one in found.items() if one.verdict == Verdict.NOT_TESTED} == {
        2,
        3,
        4,
        5,
        6,
        7,
        8,
    }


def test_the_ratio_of_probabilities_is_tested_where_a_system_has_it(tmp_path: Path) -> None:
    system = "    - {name: pr, objective: {lambda: 1.0, contrast: probability}}\n"
    text = TEXT.replace("  evaluation", f"{system}  evaluation")
    further = {"orpo-lambda-1.0": (0.0, -0.2), "pr": (0.0, -2.0)}
    assert claims(tmp_path, further, text=text)[4].verdict == Verdict.HOLDS
    assert claims(tmp_path, {"orpo-lambda-1.0": (0.0, -0.2)}, text=text)[4].verdict == Verdict.FAILS


def test_diversity_within_and_across_prompts_is_told_apart(tmp_path: Path) -> None:
    """ORPO says the same to a prompt each time; DPO says something else each time, from few words."""

    def say(name: str, seed: int, prompt: int, sample: int) -> str:
        rng = np.random.default_rng([seed, prompt, 0 if name.startswith("orpo") else sample])
        words = rng.integers(0, 26, (12, 5))
        start = "" if name.startswith("orpo") else "always begins like this, whatever the prompt may be: "
        return start + " ".join("".join(chr(97 + letter) for letter in word) for word in words)

    parts = verdicts(claims(tmp_path, {}, say=say, embedder=HashedNgrams())[7])
    within = "orpo-lambda-1.0: responses to a prompt are more alike than those of dpo"
    across = "orpo-lambda-1.0: responses to different prompts are less alike than those of dpo"
    assert (parts[within], parts[across]) == (Verdict.HOLDS, Verdict.HOLDS)


def test_passes_are_counted_and_memory_is_measured(tmp_path: Path) -> None:
    less = claims(tmp_path, {}, peaks={"orpo-lambda-0.1": 5e8, "orpo-lambda-1.0": 5e8})[8]
    assert less.verdict == Verdict.HOLDS
    same = verdicts(claims(tmp_path, {})[8])
    assert same["orpo-lambda-1.0: half of the forward passes of dpo in each visit"] == Verdict.HOLDS
    assert same["orpo-lambda-1.0: less memory than dpo"] == Verdict.UNKNOWN


def test_without_a_judge_nobody_wins(tmp_path: Path) -> None:
    assert claims(tmp_path, {})[6].verdict == Verdict.NOT_TESTED
