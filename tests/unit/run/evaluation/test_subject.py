"""What is evaluated is spoken to as it was trained, or as its own template says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from orpo.data.pairs import Message, Prompt
from orpo.data.rendering import Renderer
from orpo.errors import CheckpointError, ConfigError
from orpo.run.evaluation.subject import EvaluatedModel, is_run, load_other, load_run
from tests.e2e.commands import make_workspace
from tests.tiny import save_tiny_model

CPU = torch.device("cpu")
CHAT: Prompt = (Message("user", "hello"),)
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def give_template(folder: Path, template: str) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def other(folder: Path, **changed: Any) -> EvaluatedModel:
    given: dict[str, Any] = {"revision": None, "template": "auto", "max_length": None, "dtype": "auto"}
    return load_other(str(folder), CPU, **given | changed)


def of_run(folder: Path, **changed: Any) -> EvaluatedModel:
    return load_run(str(folder), CPU, **{"max_length": None, "dtype": "auto"} | changed)


def written(subject: EvaluatedModel, prompt: Prompt) -> str:
    return Renderer(subject.tokenizer, subject.prompt_template([prompt])).prompt(prompt)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on plain text."""
    workspace = make_workspace(tmp_path_factory.mktemp("plain"))
    assert workspace.train("training.max_steps=1").code == 0
    return workspace.output


def test_a_base_model_continues_text_and_a_chat_model_is_spoken_to(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    assert written(other(folder), "hello") == "hello"
    assert "hello" in written(other(folder), CHAT)
    give_template(folder, TEMPLATE)
    assert written(other(folder), "hello") == written(other(folder), CHAT) == "<user>hello</s><assistant>"
    assert written(other(folder, template="none"), "hello") == "hello"


def test_a_run_on_plain_text_is_given_plain_text(plain: Path) -> None:
    assert is_run(str(plain))
    assert not is_run(str(plain / "model"))
    assert written(of_run(plain), "hello") == "hello"
    assert "hello" in written(of_run(plain), CHAT)


def test_a_run_on_conversations_is_spoken_to_with_its_template(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    give_template(tmp_path / "model", TEMPLATE)
    template = tmp_path / "other.jinja"
    template.write_text("Chat: " + TEMPLATE, encoding="utf-8")
    assert workspace.train("training.max_steps=1", f"data.template={template}").code == 0
    assert written(of_run(workspace.output), "hello") == "Chat: <user>hello</s><assistant>"
    give_template(workspace.output / "model", TEMPLATE)
    with pytest.raises(CheckpointError, match=r"the chat template in model/ is not .*other\.jinja"):
        of_run(workspace.output)


def test_a_run_says_which_step_and_what_it_held_out(plain: Path) -> None:
    subject = of_run(plain)
    assert (subject.of.kind, subject.of.name, subject.of.step) == ("run", "run", 1)
    assert subject.max_length == 128
    assert of_run(plain, max_length=9).max_length == 9
    assert subject.held_out is not None
    assert subject.held_out.role == "eval"


def test_weights_can_be_had_in_another_type(plain: Path, tmp_path: Path) -> None:
    assert of_run(plain, dtype="bfloat16").model.dtype == torch.bfloat16
    assert other(save_tiny_model(tmp_path), dtype="bfloat16").model.dtype == torch.bfloat16


def test_another_model_in_the_same_place_has_another_fingerprint(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    first = other(folder).of.fingerprint
    (folder / "README.md").write_text("words", encoding="utf-8")
    assert other(folder).of.fingerprint == first
    give_template(folder, TEMPLATE)
    assert other(folder).of.fingerprint != first


def test_a_run_that_has_saved_no_model_cannot_be_evaluated(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    assert workspace.train("training.max_steps=1").code == 0
    (workspace.output / "model").rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="has saved no model yet"):
        of_run(workspace.output)


def test_more_than_the_models_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most the model's 128 positions"):
        other(save_tiny_model(tmp_path), max_length=129)
