"""IFEval: prompts, responses and outcomes (google-research `instruction_following_eval`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from orpo.errors import DataError
from orpo.formats.records import Record, write_lines
from orpo.statistics.rates import Rate
from orpo.text import printable

_EXCERPT = 60


class Prompt(Record):
    """A row of `input_data.jsonl`."""

    what = "a prompt of IFEval"

    key: int
    prompt: str
    instruction_id_list: list[str]
    kwargs: list[dict[str, Any]]

    @model_validator(mode="after")
    def _one_set_of_arguments_each(self) -> Self:
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError("as many `kwargs` as `instruction_id_list`")
        return self


class Response(Record):
    """A row of a file of responses."""

    what = "a response to IFEval"

    prompt: str
    response: str


class Outcome(Record):
    """A row of `eval_results_strict.jsonl` or `eval_results_loose.jsonl`."""

    what = "an outcome of IFEval"

    prompt: str
    response: str
    instruction_id_list: list[str]
    follow_instruction_list: list[bool]
    follow_all_instructions: bool

    @model_validator(mode="after")
    def _one_verdict_each(self) -> Self:
        if len(self.follow_instruction_list) != len(self.instruction_id_list):
            raise ValueError("as many `follow_instruction_list` as `instruction_id_list`")
        return self


def write_responses(path: str | Path, prompts: Sequence[Prompt], responses: Sequence[Response]) -> None:
    """Write a file of responses that IFEval can evaluate: it looks responses up by the exact prompt.

    Raises:
        DataError: a prompt has no response, or more than one.
        ResourceError: it cannot be written.
    """
    answered = Counter(response.prompt for response in responses)
    for prompt in prompts:
        if (count := answered[prompt.prompt]) != 1:
            raise DataError(
                f"IFEval prompt {prompt.key} ({printable(prompt.prompt, _EXCERPT)}): "
                f"expected one response, got {count}",
                hint="Generate a response for every prompt; the prompt's text must be unchanged.",
            )
    write_lines(path, responses)


def prompt_level(outcomes: Sequence[Outcome]) -> Rate:
    """Prompts all of whose instructions were followed."""
    return Rate(sum(all(one.follow_instruction_list) for one in outcomes), len(outcomes))


def instruction_level(outcomes: Sequence[Outcome]) -> Rate:
    """Instructions that were followed.

    The interval takes them for independent; those of one prompt are not quite.
    """
    verdicts = [verdict for one in outcomes for verdict in one.follow_instruction_list]
    return Rate(sum(verdicts), len(verdicts))
