"""The load-balancing loss of mixtures of experts (Switch Transformer, arXiv:2101.03961, Eq. 4 to 6).

    L = E * sum over experts e of f_e * P_e

f_e is how often a token is routed to expert e, and P_e its mean probability, over all tokens and layers, as
transformers has it.  Gradients flow through P alone, so with f of the whole batch known, what parts of the
batch add to L adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orpo.ops.precision import widened


@dataclass(frozen=True)
class Routed:
    """Sums over the tokens of all layers, each token times its weight."""

    load: Tensor
    """(E,) how often tokens are routed to each expert, without gradient."""

    probability: Tensor
    """(E,) the router's probabilities of each expert."""


def routed(logits: Sequence[Tensor], weight: Tensor, top_k: int) -> Routed:
    """What routers do with tokens.

    Args:
        logits: of each layer's router, of which there is one at least, (..., E) for the T tokens.
        weight: (T,) of the tokens.
        top_k: experts that a token is routed to.
    """
    experts = logits[0].shape[-1]
    load = probability = weight.new_zeros(experts)
    for layer in logits:
        flat = layer.flatten(0, -2)
        probabilities = flat.softmax(-1, dtype=widened(flat.dtype))
        chosen = probabilities.topk(top_k, dim=-1).indices
        # Sums rather than products with the weights, which autocast would round to bfloat16.
        weights = weight.to(probabilities.dtype)[:, None]
        load = load + (weights * torch.zeros_like(probabilities).scatter_(-1, chosen, 1)).sum(0)
        probability = probability + (weights * probabilities).sum(0)
    return Routed(load, probability)


def balancing_loss(load: Tensor, probability: Tensor, count: float) -> Tensor:
    """The share of L that a part of a batch has.

    Args:
        load: (E,) `Routed.load` of the whole batch.
        probability: (E,) `Routed.probability` of the part.
        count: tokens of the whole batch times layers, each times its weight.
    """
    return len(load) * ((load / count) * (probability / count)).sum()
