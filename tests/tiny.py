"""Small random models and tokenizers, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from orpo.modeling import head

SPECIALS = {"<pad>": 0, "<s>": 1, "</s>": 2}


def tiny_llama(
    *,
    vocab_size: int = 64,
    layers: int = 2,
    hidden: int = 32,
    positions: int = 128,
    seed: int = 0,
    initializer_range: float = 0.02,
) -> LlamaForCausalLM:
    """A randomly initialised Llama with grouped-query attention."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        _config(vocab_size, layers, hidden, positions, initializer_range),
    )


def score_as_if_large() -> None:
    """In a process of its own: heads score tiny models as they score large ones, fused and pairs in parts."""
    head.SMALL_OUTPUTS = 0
    head.MIN_ROWS = 1
    head.PART_BYTES["cpu"] = 20 * 4 * 64  # 20 rows of the vocabulary


def tiny_reward_model(*, vocab_size: int = 64, positions: int = 128) -> LlamaForSequenceClassification:
    """The same with a value head."""
    torch.manual_seed(0)
    config = _config(vocab_size, 2, 32, positions, 0.2)
    config.num_labels = 1
    return LlamaForSequenceClassification(config)


def _config(
    vocab_size: int, layers: int, hidden: int, positions: int, initializer_range: float
) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=initializer_range,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte after three special ones; EOS `</s>`, no template, adds nothing by itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = SPECIALS | {letter: i + len(SPECIALS) for i, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def save_tiny_model(folder: Path, *, positions: int = 128) -> Path:
    """A loadable model of 2 layers with its byte tokenizer."""
    tokenizer = byte_tokenizer()
    tiny_llama(vocab_size=len(tokenizer), positions=positions, initializer_range=0.1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
