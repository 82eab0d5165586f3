"""What a tokenizer says about its special tokens, found by asking it rather than by its class or config.

Tokenizer files disagree with their own settings (`add_bos_token` beside a post-processor that adds none),
so the encoding itself is the only witness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def added_prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that the tokenizer's own encoding puts before a text: BOS, or nothing.

    What it puts after a text (some add EOS) is left out: a prompt must stay open.
    """
    probe = "a"
    bare: list[int] = tokenizer(probe, add_special_tokens=False)["input_ids"]
    dressed: list[int] = tokenizer(probe, add_special_tokens=True)["input_ids"]
    starts = range(len(dressed) - len(bare) + 1)
    start = next((i for i in starts if dressed[i : i + len(bare)] == bare), 0)
    return tuple(dressed[:start])


def eos_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Id of EOS, if there is one."""
    eos = tokenizer.eos_token_id
    assert eos is None or isinstance(eos, int)
    return eos


def added_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Text and id of every added token that is more than white space, and of EOS where there is one.

    Flagged special or not: an end-of-turn that was added without the flag ends turns all the same.  Runs of
    blanks and line breaks, which some vocabularies add, end nothing.
    """
    tokens = {
        token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip()
    }
    eos = eos_id(tokenizer)
    return tokens if eos is None else tokens | {str(tokenizer.eos_token): eos}
