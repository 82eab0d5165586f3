"""A program of the user as a judge: questions as JSON lines on its standard input, verdicts on its output."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orpo.errors import ConfigError, NetworkError
from orpo.judging.verdicts import Question, Status, Verdict, preferring
from orpo.text import printable

_EXCERPT = 200


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    id: int
    preference: float | None = Field(ge=0, le=1)


class ProgramJudge:
    """Asks a program which of two responses is better.

    It is given all questions, `{"id", "instruction", "first", "second"}` one in a line, and answers
    `{"id", "preference"}` in any order: 1 if the first response is better, 0 if the second is, 0.5 for a tie,
    anything between for how sure it is, null if it cannot tell.  No shell is involved.

    Args:
        command: the program and its arguments, quoted as for a shell.

    Raises:
        ConfigError: there is no such program.
    """

    both_orders = True

    def __init__(self, command: str) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--command {printable(command)!r}: {error}") from None
        if not self._arguments or shutil.which(self._arguments[0]) is None:
            raise ConfigError(
                f"--command: no program {printable(self._arguments[0]) if self._arguments else ''!r}",
                hint="Give its path, or a name on the PATH, and its arguments: --command 'python judge.py'.",
            )
        self.name = command

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict for each question; a question without an answer is an error.

        Raises:
            NetworkError: the program fails, or writes what is no verdict.
        """
        answers = self._parse(self._run(questions), len(questions))
        return [
            _verdict(answers[number]) if number in answers else Verdict(Status.ERROR, reason="no answer")
            for number in range(len(questions))
        ]

    def _run(self, questions: Sequence[Question]) -> str:
        lines = [json.dumps({"id": number, **asdict(one)}) for number, one in enumerate(questions)]
        try:
            done = subprocess.run(
                self._arguments,
                input="".join(line + "\n" for line in lines).encode(),
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error.strerror or error}") from None
        if done.returncode:
            said = printable(done.stderr.decode(errors="replace").strip()[-_EXCERPT:])
            raise self._failed(f"ended with {done.returncode}{f': {said}' if said else ''}")
        return done.stdout.decode(errors="replace")

    def _parse(self, output: str, number: int) -> dict[int, float | None]:
        answers: dict[int, float | None] = {}
        for place, line in enumerate(output.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                answer = _Answer.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]["msg"]
                raise self._failed(
                    f"line {place} of its output is no verdict ({problem}): {printable(line, _EXCERPT)}"
                ) from None
            if answer.id in answers or not 0 <= answer.id < number:
                raise self._failed(
                    f"line {place} of its output: id {answer.id} "
                    + ("is there twice" if answer.id in answers else "was not asked")
                )
            answers[answer.id] = answer.preference
        return answers

    def _failed(self, problem: str) -> NetworkError:
        return NetworkError(
            f"the judge {printable(self.name, _EXCERPT)!r} {problem}",
            hint='It reads lines of {"id", "instruction", "first", "second"} and writes lines of '
            '{"id", "preference"}.',
        )


def _verdict(preference: float | None) -> Verdict:
    if preference is None:
        return Verdict(Status.INVALID, reason="the judge cannot tell")
    return preferring(preference)
