"""Reward models on disk, made on the spot, and what transformers itself makes of texts with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny import byte_tokenizer, tiny_reward_model

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""Writes something after the token that ends a turn, as many do."""


def save_reward_model(folder: Path, *, template: str | None = None, positions: int = 128) -> Path:
    """A sequence-classification model with one label, which is no run's."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    tiny_reward_model(vocab_size=len(tokenizer), positions=positions).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def values_by_transformers(folder: Path, texts: Sequence[str]) -> list[float]:
    """Values of whole texts, one by one, special tokens written out."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return [
            model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits.item()
            for text in texts
        ]
