"""Prompts as a model is given them, and its responses as they are kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from orpo.data.pairs import Message
from orpo.data.prompts import PromptRow
from orpo.data.templates import Template
from orpo.data.tokens import NO_PROMPT
from orpo.errors import Interrupted
from orpo.evaluation.generation import Decoding
from orpo.interruption import listening
from orpo.run.evaluation.responses import (
    NO_ROOM,
    RenderedPrompt,
    generate_responses,
    keeping,
    render,
    stop_ids,
)
from orpo.run.evaluation.subject import EvaluatedModel, load_other
from orpo.rundir.evaluations import EvaluationDirectory
from tests.tiny import save_tiny_model

PLAIN = Template("none", None)
REFUSING = Template("own", "{% if messages|length > 1 %}{{ raise_exception('too many') }}{% endif %}x</s>")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    folder = save_tiny_model(tmp_path_factory.mktemp("model"), positions=32)
    return load_other(
        str(folder),
        torch.device("cpu"),
        revision=None,
        template="auto",
        max_length=None,
        dtype="auto",
    )


def test_prompts_keep_their_numbers_and_the_others_their_reasons(subject: EvaluatedModel) -> None:
    texts = ["a", "b" * 28, "", "d" * 27]
    kept, dropped = render(subject, [PromptRow(text) for text in texts], PLAIN, 5)
    assert [(one.index, one.text, one.instruction) for one in kept] == [
        (0, "a", "a"),
        (3, "d" * 27, "d" * 27),
    ]
    assert dropped == {NO_ROOM: 1, NO_PROMPT: 1}


def test_what_the_template_refuses_is_dropped(subject: EvaluatedModel) -> None:
    turn = Message("user", "a")
    subject.tokenizer.chat_template = REFUSING.text
    kept, dropped = render(subject, [PromptRow((turn,)), PromptRow((turn, turn))], REFUSING, 5)
    assert [one.index for one in kept] == [0]
    assert [("too many" in reason, number) for reason, number in dropped.items()] == [(True, 1)]


def test_responses_stop_where_model_tokenizer_or_template_say(
    subject: EvaluatedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stop_ids(subject, PromptRow("a"), PLAIN) == (2,)
    monkeypatch.setattr(subject.model.generation_config, "eos_token_id", [7, 9])
    assert stop_ids(subject, PromptRow("a"), PLAIN) == (2, 7, 9)
    unstable = Template("own", "{{ range(9)|random }}")  # good for nothing, but no reason to fail here
    subject.tokenizer.chat_template = unstable.text
    assert stop_ids(subject, PromptRow((Message("user", "a"),)), unstable) == (2, 7, 9)


def generated(subject: EvaluatedModel, folder: Path, **changed: Any) -> EvaluationDirectory:
    prompts = [
        RenderedPrompt(index, text, text, (5, 6 + index), None) for index, text in enumerate(("one", "two"))
    ]
    directory = EvaluationDirectory(folder)
    given: dict[str, Any] = {"samples": 1, "seed": 0, "batch_size": 8, "console": None}
    generate_responses(subject, prompts, Decoding(4, [2], 0), directory, **given | changed)
    return directory


def test_only_what_is_missing_is_generated(subject: EvaluatedModel, tmp_path: Path) -> None:
    directory = generated(subject, tmp_path)
    whole = directory.responses.read_bytes()
    assert [row.prompt_index for row in directory.go_on()] == [0, 1]
    assert generated(subject, tmp_path).responses.read_bytes() == whole
    generated(subject, tmp_path, samples=2)
    assert directory.responses.read_bytes().startswith(whole)
    assert [(row.prompt_index, row.sample) for row in directory.go_on()[2:]] == [(0, 1), (1, 1)]


def test_a_signal_waits_for_what_is_being_kept() -> None:
    kept: list[str] = []

    def keep() -> None:
        with keeping():
            os.kill(os.getpid(), signal.SIGINT)
            kept.append("all of it")

    with listening(), pytest.raises(Interrupted, match="Ctrl-C"):
        keep()
    assert kept == ["all of it"]


def test_ids_that_the_tokenizer_does_not_know_break_nothing(
    subject: EvaluatedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beyond(*, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        strange = torch.tensor([[10**6, 0xC3 + 3, 1, 0]]).expand(len(input_ids), 4)
        return torch.cat([input_ids, strange], dim=1)

    monkeypatch.setattr(subject.model, "generate", beyond)
    row = generated(subject, tmp_path).go_on()[0]
    assert (row.tokens, row.truncated) == (4, True)
    row.response.encode()
