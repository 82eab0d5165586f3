"""What `orpo data build` writes is what TRL 1.16 takes for preference data, and renders as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from trl.data_utils import apply_chat_template, is_conversational, maybe_extract_prompt

from orpo.build.files import write_items
from orpo.build.options import Format
from orpo.build.provenance import Item
from orpo.build.rows import Numbers
from orpo.data import Message, Pair
from orpo.data.pairs import Prompt
from tests.conversations import chat, pair
from tests.trap_tokenizers import CHATML_LIKE, byte_level

CHATS = [chat("Hi"), chat("Hi", "Yes?", "Why?", system="Be brief.")]


def rows(tmp_path: Path, prompts: list[Prompt], form: Format) -> list[dict[str, Any]]:
    items = [Item(pair(prompt, f"a{i}", f"b{i}"), "f") for i, prompt in enumerate(prompts)]
    path = tmp_path / f"train.{form}"
    write_items(path, items, form, Numbers(weight=True))
    kind = {"jsonl": "json", "parquet": "parquet"}[form]
    found = load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    return [dict(row) for row in found]


def rendered(example: Pair) -> dict[str, str]:
    """Prompt and responses in CHATML_LIKE, by hand."""
    assert not isinstance(example.prompt, str)
    turns = "".join(turn(message) for message in example.prompt)
    return {
        "prompt": f"{turns}<|im_start|>assistant\n",
        "chosen": f"{example.chosen}<|im_end|>\n",
        "rejected": f"{example.rejected}<|im_end|>\n",
    }


def turn(message: Message) -> str:
    return f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"


@pytest.mark.parametrize("form", list(Format))
def test_chats_are_conversational_and_rendered_with_their_prompt(tmp_path: Path, form: Format) -> None:
    tokenizer = byte_level(template=CHATML_LIKE)
    for i, row in enumerate(rows(tmp_path, [*CHATS], form)):
        assert is_conversational(row)
        assert maybe_extract_prompt(row) == row, "it has its prompt already"
        found = apply_chat_template(row, tokenizer)
        assert {key: found[key] for key in ("prompt", "chosen", "rejected")} == rendered(
            pair(CHATS[i], f"a{i}", f"b{i}")
        )


@pytest.mark.parametrize("form", list(Format))
def test_plain_text_is_standard(tmp_path: Path, form: Format) -> None:
    for i, row in enumerate(rows(tmp_path, ["1 + 1 =", "2 + 2 ="], form)):
        assert not is_conversational(row)
        assert (row["chosen"], row["rejected"]) == (f"a{i}", f"b{i}")
