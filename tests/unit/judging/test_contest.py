from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orpo.errors import DataError
from orpo.judging.contest import Contest, annotations_path, judge_systems, standings
from orpo.judging.outputs import Output, System
from orpo.judging.published import read_published
from orpo.judging.verdicts import Question, Status, Verdict, preferring


class Longer:
    """Prefers the longer response."""

    name = "longer"
    both_orders = True
    asked = 0

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        self.asked += len(questions)
        return [
            preferring(0.5 + (len(one.first) > len(one.second)) / 2 - (len(one.first) < len(one.second)) / 2)
            for one in questions
        ]


class Silent(Longer):
    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return [Verdict(Status.ERROR, reason="gone")] * len(questions)


def system(name: str, length: int, prompts: int = 12) -> System:
    return System(name, tuple(Output(instruction=f"q{n}", output="x" * length) for n in range(prompts)))


def test_each_pair_is_compared_once_and_written(tmp_path: Path) -> None:
    contests = judge_systems(Longer(), [system("a", 3), system("b", 1), system("c", 2)], tmp_path)
    pairs = [(one.comparison.model, one.comparison.baseline) for one in contests]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-against-b.json",
        "a-against-c.json",
        "b-against-c.json",
    ]
    again = read_published(sorted(tmp_path.iterdir())).contests
    assert [one.comparison.win_rate() for one in again] == [one.comparison.win_rate() for one in contests]


def test_several_models_are_ranked(tmp_path: Path) -> None:
    table = standings(judge_systems(Longer(), [system("a", 3), system("b", 1), system("c", 2)], tmp_path))
    assert table is not None
    assert [one.name for one in table.strengths] == ["a", "c", "b"]
    assert [(one.first, one.second, one.difference) for one in table.differences] == [
        ("a", "b", 0.5),
        ("a", "c", 0.5),
        ("b", "c", -0.5),
    ]
    assert all(one.corrected > one.p_value for one in table.differences[:1])


def test_two_models_need_no_table_and_a_silent_judge_gives_none(tmp_path: Path) -> None:
    assert standings(judge_systems(Longer(), [system("a", 3), system("b", 1)], tmp_path)) is None
    assert standings(judge_systems(Silent(), [system(name, 1) for name in "abc"], tmp_path)) is None


def test_nothing_is_asked_unless_all_pairs_have_something_in_common(tmp_path: Path) -> None:
    judge, stranger = Longer(), System("z", (Output(instruction="other", output="x"),))
    with pytest.raises(DataError, match="no instruction in common"):
        judge_systems(judge, [system("a", 3), system("b", 1), stranger], tmp_path)
    assert judge.asked == 0


def test_names_of_models_become_names_of_files_within_the_folder(tmp_path: Path) -> None:
    names = ["org/model", "org_model", "../../up", "..", "", "x" * 300, "ä"]
    contests: list[Contest] = judge_systems(Longer(), [system(name, 1, 1) for name in names], tmp_path)
    paths = {annotations_path(tmp_path, one.comparison) for one in contests}
    assert len(paths) == len(contests) == len(list(tmp_path.iterdir()))
