"""The token that rows are filled with: for a reward model it decides which token is the last one."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import cast

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

ADDED = "<|pad|>"


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to fill rows with; without a pad token any will do, since padding is never looked at."""
    pad = tokenizer.pad_token_id
    return pad if isinstance(pad, int) else 0


def require_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]
) -> None:
    """Give a reward model a pad token that ends no response, if it has none.

    A sequence-classification model of transformers takes the value of the last token that is not padding.
    Where padding is the token that ends responses, as in many tokenizers, that would be the one before it.

    Args:
        model: without adapters; its embeddings grow by a token if they have none to spare.
        tokenizer: gets the token.
        stop_ids: tokens that end responses.
    """
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stop_ids:
        was = tokenizer.pad_token
        tokenizer.add_special_tokens({"pad_token": ADDED})
        log.info("pad token: %s added; %s", ADDED, f"{was} ends responses" if was else "there was none")
        make_room(model, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def make_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a model's embeddings grow to its tokenizer's tokens, if that has more."""
    if len(tokenizer) > len(cast("Tensor", model.get_input_embeddings().weight)):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
