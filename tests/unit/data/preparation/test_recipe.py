"""Whatever changes the tokens changes the key, and nothing else does."""

from __future__ import annotations

import functools
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from orpo.data import SourceSpec, stream_examples
from orpo.data.preparation import Reading, Recipe, Tokenization, recipe
from orpo.data.read import SourceStream
from orpo.data.templates import Template
from tests.rows import rows, write_rows
from tests.trap_tokenizers import byte_level, space_prefix
from tests.unit.data.preparation.making import READING, TOKENIZATION, tokenizer


@functools.cache
def stream(path: Path) -> SourceStream:
    return stream_examples(SourceSpec(str(write_rows(path, 3))), role="train")


def key(
    stream: SourceStream,
    reading: Reading = READING,
    tokenization: Tokenization = TOKENIZATION,
    by: PreTrainedTokenizerBase | None = None,
) -> str:
    made = Recipe.of(stream, reading, tokenization, by or tokenizer())
    assert made is not None
    return made.key


OTHER_SPEC: dict[str, Any] = {
    "path": "b.jsonl",
    "config": "c",
    "data_dir": "d",
    "split": "s",
    "revision": "r",
    "columns": {"prompt": "p"},
    "criterion": "safer",
    "policy": "best-vs-random",
    "min_margin": 0.5,
    "where": {"score": ">= 2"},
}


def test_every_option_of_a_source_is_part_of_the_key(tmp_path: Path) -> None:
    base = stream(tmp_path / "a.jsonl")
    assert set(OTHER_SPEC) == {field.name for field in fields(SourceSpec)}
    keys = {key(base)} | {
        key(replace(base, spec=replace(base.spec, **{name: value}))) for name, value in OTHER_SPEC.items()
    }
    assert len(keys) == 1 + len(OTHER_SPEC)


def test_the_content_is_part_of_the_key_and_the_time_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = key(stream_examples(SourceSpec(str(write_rows(path, 3))), role="train"))
    assert key(stream_examples(SourceSpec(str(write_rows(path, 3))), role="train")) == first
    assert key(stream_examples(SourceSpec(str(write_rows(path, 4))), role="train")) != first


def test_how_sources_are_read_is_part_of_the_key(tmp_path: Path) -> None:
    base = stream(tmp_path / "a.jsonl")
    other: dict[str, Any] = {"role": "eval", "transcripts": "text", "keep_unpaired": True}
    assert set(other) == {field.name for field in fields(Reading)}
    keys = {key(base, reading=replace(READING, **{name: value})) for name, value in other.items()}
    assert len(keys | {key(base)}) == 1 + len(other)


TEMPLATE = Template("model", "{{ messages }}")


def test_how_examples_become_tokens_is_part_of_the_key(tmp_path: Path) -> None:
    base = stream(tmp_path / "a.jsonl")
    changes: list[dict[str, Any]] = [
        {},
        {"max_length": 99},
        {"truncation": "drop"},
        {"finds_answers": True},
        {"template": TEMPLATE},
        {"template": replace(TEMPLATE, text="{{ messages }} ")},
        {"template": replace(TEMPLATE, wraps_text=True)},
    ]
    assert {name for change in changes for name in change} == {field.name for field in fields(Tokenization)}
    keys = {key(base, tokenization=replace(TOKENIZATION, **change)) for change in changes}
    assert len(keys) == len(changes)


def test_the_name_of_a_template_is_not_part_of_the_key(tmp_path: Path) -> None:
    base = stream(tmp_path / "a.jsonl")
    keys = {
        key(base, tokenization=replace(TOKENIZATION, template=replace(TEMPLATE, name=name)))
        for name in ("model", "/elsewhere/chat.jinja")
    }
    assert len(keys) == 1


def test_every_tokenizer_has_a_key_of_its_own(tmp_path: Path) -> None:
    base = stream(tmp_path / "a.jsonl")
    swapped = byte_level(special=("<|end|>",))
    swapped.eos_token = "<|end|>"
    tokenizers = [
        tokenizer(),
        byte_level(special=("<|end|>",)),
        swapped,
        byte_level(bos="<s>"),
        byte_level(bos="<s>", adds_bos=True),
        space_prefix(),
    ]
    assert len({key(base, by=one) for one in tokenizers}) == len(tokenizers)


def test_a_template_that_the_tokenizer_has_and_earlier_calls_change_nothing(tmp_path: Path) -> None:
    base = stream(tmp_path / "a.jsonl")
    used = byte_level()
    before = key(base, by=used)
    used.chat_template = "{{ messages }}"
    used(["one", "two words"], truncation=True, max_length=1)
    assert key(base, by=used) == before


@pytest.mark.parametrize("package", ["orpo", "tokenizers", "transformers", "jinja2"])
def test_the_code_that_makes_tokens_is_part_of_the_key(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = stream(tmp_path / "a.jsonl")
    before, version = key(base), recipe.version
    monkeypatch.setattr(recipe, "version", lambda name: "0.0.0" if name == package else version(name))
    assert key(base) != before
    monkeypatch.undo()
    monkeypatch.setattr(recipe, "FORMAT", 0)
    assert key(base) != before


def test_what_has_no_identity_has_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = stream_examples(rows(3), role="train")
    assert Recipe.of(in_memory, READING, TOKENIZATION, tokenizer()) is None
    slow = byte_level()
    monkeypatch.setattr(type(slow), "is_fast", False)
    assert Recipe.of(stream(tmp_path / "a.jsonl"), READING, TOKENIZATION, slow) is None


def test_the_ingredients_are_json(tmp_path: Path) -> None:
    made = Recipe.of(stream(tmp_path / "a.jsonl"), READING, TOKENIZATION, tokenizer())
    assert made is not None
    assert json.loads(json.dumps(made.ingredients)) == made.ingredients
