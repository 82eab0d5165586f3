"""Whether a model reads left to right, so that nothing that follows a token changes what is made of it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from orpo.errors import ConfigError
from orpo.modeling.kinds import Outputs
from orpo.modeling.probing import FAILURES, by_embeddings

LENGTH = 6
"""Tokens of the texts that show it: blocks that are read both ways lie within them, or hold them."""


def require_left_to_right(model: PreTrainedModel, name: str, outputs: Outputs) -> None:
    """Refuse a model whose earlier predictions see later tokens.

    Scores of such a model would leak the response, and padding would reach real tokens.

    Args:
        model: in evaluation mode.
        name: of the model, for the message.
        outputs: what it makes of each token.

    Raises:
        ConfigError: it does.
    """
    if _has_gradient_of_later(model, outputs) or _changes_with_last(model, outputs):
        raise ConfigError(
            f"model: expected a model that reads left to right, but a later token changes {name}'s "
            "earlier predictions",
            hint="Encoders such as BERT can be loaded as decoders, but need is_decoder in their config.json.",
        )


def _has_gradient_of_later(model: PreTrainedModel, outputs: Outputs) -> bool:
    """Whether what is made of a text's beginning has a gradient by what follows it.

    It is exactly 0 in any type if the model reads left to right, and what rounding would hide shows.  Each
    row asks for another beginning.  A model that no such gradient can be taken of is left to
    `_changes_with_last`.
    """
    ids = _texts(model, LENGTH - 1)
    try:
        made, embedded = by_embeddings(model, lambda: outputs(model, input_ids=ids))
        (gradient,) = torch.autograd.grad(made, embedded, _weights_of_beginnings(made))
    except torch.OutOfMemoryError:
        raise
    except FAILURES:
        return False
    later = torch.ones(gradient.shape[:2], device=gradient.device).triu(1).bool()
    found = gradient[later]
    return bool(found.isfinite().all() and found.ne(0).any())


def _weights_of_beginnings(made: Tensor) -> Tensor:
    """Weights of a sum over the first i + 1 outputs of each row i, different ones for all.

    The sum of what a last norm makes, or of its squares, may not depend on anything.
    """
    weights = torch.arange(made.numel(), device=made.device, dtype=torch.float32).sin().view_as(made)
    beginnings = torch.ones(made.shape[:2], device=made.device).tril()[..., None]
    return (weights * beginnings / made[0].numel() ** 0.5).to(made.dtype)


@torch.no_grad()
def _changes_with_last(model: PreTrainedModel, outputs: Outputs) -> bool:
    """Whether another last token changes what is made of those before it, by more than rounding.

    It shows what has no gradient, such as a choice among experts, but little of it in half precision.
    """
    ids = _texts(model, 2)
    ids[1, -1] = 0
    first, second = outputs(model, input_ids=ids)[:, :-1].float()
    rounding = 32 * torch.finfo(model.dtype).eps * first.abs().max().item()
    return (first - second).abs().max().item() > rounding


def _texts(model: PreTrainedModel, count: int) -> Tensor:
    """(count, `LENGTH`) the same text in every row, on the model's device."""
    ids = torch.arange(LENGTH).remainder(model.config.get_text_config().vocab_size)
    return ids.repeat(count, 1).to(model.device)
