"""What every side is given: model shapes with random weights, and pairs as long as real ones."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import ShardBuilder, TokenizedPairs

SEED = 0
STOP_ID = 2

LLAMA_3 = {
    "vocab_size": 128_256,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131_072,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama-1b": LlamaConfig(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
        **LLAMA_3,
    ),
    "llama-8b": LlamaConfig(
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=False,
        **LLAMA_3,
    ),
    "qwen-7b": Qwen2Config(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32_768,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    ),
    "medium": LlamaConfig(
        vocab_size=32_000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=4,
        num_attention_heads=16,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    ),
    "smoke": LlamaConfig(
        vocab_size=256,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    ),
}
"""Llama-3.2-1B, Llama-3.1-8B and Qwen2.5-7B as published, one for checks against float64, one for a CPU."""


def new_model(shape: str, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A model with the same random weights on every call, made on the device itself."""
    torch.manual_seed(SEED)
    with device:
        model = AutoModelForCausalLM.from_config(CONFIGS[shape], dtype=dtype)
    return model.train()


@dataclass(frozen=True)
class Pairs:
    """Preference pairs of random tokens."""

    pairs: TokenizedPairs
    batch_size: int
    """Pairs per optimizer step."""

    def batch(self, index: int) -> list[TokenizedPair]:
        """The pairs of one step."""
        start = index * self.batch_size
        return [self.pairs[i] for i in range(start, start + self.batch_size)]


def read_pairs(shape: str, *, steps: int, batch_size: int, longest: int | None = None) -> Pairs:
    """Pairs for `steps` optimizer steps, as long as those of HH, drawn in a seeded order.

    Args:
        shape: whose vocabulary the tokens are drawn from.
        steps: optimizer steps.
        batch_size: pairs of a step.
        longest: tokens that a segment is cut to.
    """
    record = json.loads(Path(__file__).with_name("hh_lengths.json").read_text(encoding="utf-8"))
    rng = random.Random(SEED)
    lengths = record["lengths"]
    builder = ShardBuilder()
    vocab_size = CONFIGS[shape].vocab_size
    for number in rng.sample(range(len(lengths)), steps * batch_size):
        prompt, chosen, rejected = (
            tuple(rng.randrange(3, vocab_size) for _ in range(min(length, longest or length)))
            for length in lengths[number]
        )
        builder.add(TokenizedPair(prompt, chosen, rejected, f"pair {number}"), STOP_ID)
    return Pairs(TokenizedPairs.of([builder.build()], [STOP_ID]), batch_size)


def dummy_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for trainers that insist on one; the pairs are tokens already."""
    vocab = {"<pad>": 0, "<s>": 1, "</s>": STOP_ID}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="<pad>")),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )
