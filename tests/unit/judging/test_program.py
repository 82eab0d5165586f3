from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from orpo.errors import ConfigError, NetworkError
from orpo.judging.program import ProgramJudge
from orpo.judging.verdicts import Question, Status

QUESTIONS = [
    Question("q", "short", "much longer"),
    Question("r", "$(touch x)", "`id`"),
    Question("s", "", "\n"),
]

LONGER = """
import json, sys
for line in reversed(sys.stdin.readlines()):
    one = json.loads(line)
    assert set(one) == {"id", "instruction", "first", "second"}
    a, b = len(one["first"]), len(one["second"])
    print(json.dumps({"id": one["id"], "preference": None if one["instruction"] == "s" else float(a > b)}))
"""


def program(tmp_path: Path, text: str) -> ProgramJudge:
    path = tmp_path / "the judge.py"
    path.write_text(text)
    return ProgramJudge(shlex.join([sys.executable, str(path)]))


def test_a_program_is_asked_and_answers_in_any_order(tmp_path: Path) -> None:
    verdicts = program(tmp_path, LONGER).judge(QUESTIONS)
    assert [one.preference for one in verdicts] == [0.0, 1.0, None]
    assert (verdicts[2].status, verdicts[2].reason) == (Status.INVALID, "the judge cannot tell")


def test_a_question_without_an_answer_is_an_error(tmp_path: Path) -> None:
    verdicts = program(tmp_path, 'print(\'{"id": 1, "preference": 0.25}\')').judge(QUESTIONS)
    assert [one.status for one in verdicts] == [Status.ERROR, Status.VALID, Status.ERROR]
    assert verdicts[1].preference == 0.25


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "line 1 of its output is no verdict"),
        ('{"id": 0}', "no verdict"),
        ('{"id": "0", "preference": 1}', "no verdict"),
        ('{"id": 0, "preference": 1.5}', "no verdict"),
        ('{"id": 0, "preference": NaN}', "no verdict"),
        ('{"id": 3, "preference": 1}', "id 3 was not asked"),
        ('{"id": -1, "preference": 1}', "id -1 was not asked"),
        (
            '{"id": 0, "preference": 1}\\n\\n{"id": 0, "preference": 1}',
            "line 3 of its output: id 0 is there twice",
        ),
    ],
)
def test_what_is_no_verdict_is_said(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(NetworkError, match=says):
        program(tmp_path, f"print('{line}')").judge(QUESTIONS)


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"ended with 3: no such model"):
        program(tmp_path, "import sys; print('no such model', file=sys.stderr); sys.exit(3)").judge(QUESTIONS)


def test_a_program_that_does_not_read_is_no_problem_by_itself(tmp_path: Path) -> None:
    many = [Question("q" * 1000, "a", "b")] * 1000
    assert {one.status for one in program(tmp_path, "").judge(many)} == {Status.ERROR}


@pytest.mark.parametrize("command", ["", "no-such-program-anywhere", "'unclosed"])
def test_what_is_no_program_is_refused(command: str) -> None:
    with pytest.raises(ConfigError, match="--command"):
        ProgramJudge(command)


def test_no_shell_is_involved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ProgramJudge(f"{sys.executable} -c 'pass' ; touch made > made $(touch made)").judge(QUESTIONS)
    assert not (tmp_path / "made").exists()
