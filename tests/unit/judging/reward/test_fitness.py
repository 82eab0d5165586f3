"""Who may judge is what held-out pairs say, and every pair is accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orpo.data.pairs import Prompt
from orpo.data.rendering import Dropped
from orpo.errors import DataError
from orpo.judging.reward.fitness import Standing, fitness_of
from orpo.judging.reward.model import RewardModel
from orpo.judging.reward.texts import PlainPrompts, Text, Writer


class Letters:
    """Writes a token for each letter of the response, of which it reads ten; refuses prompts with `no`."""

    transcripts = "text"

    def __call__(self, both: Sequence[tuple[Prompt, str]]) -> list[Text | Dropped]:
        return [
            Dropped("refused")
            if "no" in prompt
            else Text({"input_ids": [ord(letter) for letter in response[:10]]}, len(response) > 10)
            for prompt, response in both
        ]


def judge(value: Callable[[str], float]) -> RewardModel:
    def values(texts: Sequence[Text], on_done: Callable[[int], None]) -> list[float]:
        return [value("".join(map(chr, text.inputs["input_ids"]))) for text in texts]

    writer: Writer = Letters()  # type: ignore[assignment]
    return RewardModel("judge", PlainPrompts(writer), values)


def pairs(folder: Path, rows: Sequence[tuple[str, str, str]]) -> str:
    path = folder / "pairs.jsonl"
    named = [dict(zip(("prompt", "chosen", "rejected"), row, strict=True)) for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in named))
    return str(path)


GOOD_IS_CHOSEN = [
    (f"q{n}", "good" + "!" * (n % 2), "bad!" + "!" * ((n + 1) % 2)) for n in range(40)
]  # as often longer as shorter


def good(text: str) -> float:
    return float("good" in text)


@pytest.mark.parametrize(
    ("value", "standing", "rate"),
    [
        (good, Standing.FIT, 1.0),
        (lambda text: -good(text), Standing.UNFIT, 0.0),
        (lambda text: 0.0, Standing.UNFIT, 0.5),
        (len, Standing.UNFIT, 0.5),
    ],
    ids=["right", "wrong", "indifferent", "long"],
)
def test_a_judge_that_knows_nothing_is_unfit(
    tmp_path: Path, value: Callable[[str], float], standing: Standing, rate: float
) -> None:
    found = fitness_of(judge(value), pairs(tmp_path, GOOD_IS_CHOSEN), print)
    assert found.standing is standing
    assert found.assessment is not None
    assert (found.assessment.accuracy.rate, found.assessment.pairs) == (rate, 40)


def test_a_judge_that_only_sees_length_is_unfit_however_often_it_is_right(tmp_path: Path) -> None:
    longer_is_chosen = [(f"q{n}", "long", "s") for n in range(40)]
    found = fitness_of(judge(len), pairs(tmp_path, longer_is_chosen), print)
    assert found.assessment is not None
    assert found.assessment.accuracy.rate == found.assessment.by_length.rate == 1.0
    assert found.standing is Standing.UNFIT


def test_pairs_without_a_value_and_cut_ones_are_counted(tmp_path: Path) -> None:
    rows = [*GOOD_IS_CHOSEN[:5], ("no", "a", "b"), ("q", "same", "same"), ("q", "a" * 11, "b")]
    found = fitness_of(judge(good), pairs(tmp_path, rows), print)
    assert found.assessment is not None
    assert found.assessment.pairs == 6
    assert found.dropped == {"refused": 1, "identical responses": 1, "cut, and used": 1}
    with pytest.raises(DataError, match=r"no pair that the judge can be measured on \(1 refused\)"):
        fitness_of(judge(good), pairs(tmp_path, [("no", "a", "b")]), print)


def test_nothing_is_known_without_pairs_or_a_run() -> None:
    found = fitness_of(judge(good), None, print)
    assert (found.standing, found.assessment, found.source) == (Standing.UNKNOWN, None, "")
