"""The router loss of mixtures of experts: found in a model, and understood by trying."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from orpo.batch import MicroBatch, Totals
from orpo.errors import ConfigError
from orpo.modeling.head import probe_ids
from orpo.ops.distributed import World
from orpo.ops.routing import balancing_loss, routed

log = logging.getLogger(__name__)

_COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")
"""What transformers' models call theirs."""


@dataclass(frozen=True)
class RouterLoss:
    """The loss that keeps a model's experts equally busy, and its weight."""

    coefficient: float

    top_k: int
    """Experts that a token is routed to."""

    def share(
        self, logits: Sequence[Tensor], batch: MicroBatch, totals: Totals, world: World | None
    ) -> Tensor:
        """The micro-batch's share of the global batch's loss, before the coefficient.

        Args:
            logits: of each layer's router, (..., E) for the tokens of `batch`.
            batch: the micro-batch.
            totals: of the global batch; without the experts' load, the micro-batches that the processes of
                `world` run now are all of it.
            world: this process among its peers; None if it is alone.
        """
        sums = routed(logits, batch.presence, self.top_k)
        load = totals.expert_load
        if load is None:
            load = sums.load if world is None else world.sum(sums.load)
        return balancing_loss(load, sums.probability, totals.tokens * len(logits))


def find_router_loss(model: PreTrainedModel, coefficient: float | Literal["auto"]) -> RouterLoss | None:
    """The router loss of `model`, in evaluation mode, if it has one that is included.

    What transformers computes of a few tokens says whether ours is the same.

    Args:
        model: a causal language model.
        coefficient: of the loss; `auto` is that of the model's configuration.

    Raises:
        ConfigError: there is none, or an unknown one, and a coefficient was given.
    """
    own = next((value for name in _COEFFICIENTS if (value := getattr(model, name, None))), 0.0)
    factor = own if coefficient == "auto" else coefficient
    if factor == 0:
        return None
    top_k: int | None = getattr(model, "num_experts_per_tok", None)
    if top_k is None:
        reason = "has no router loss"
    elif (reason := _differs(model, top_k)) is None:
        return RouterLoss(factor, top_k)
    if coefficient != "auto":
        raise ConfigError(
            f"training.router_loss: {type(model).__name__} {reason}",
            hint="Leave training.router_loss out, or set it to 0.",
        )
    log.warning("%s: the router loss is left out, since the model %s", type(model).__name__, reason)
    return None


@torch.no_grad()
def _differs(model: PreTrainedModel, top_k: int) -> str | None:
    """How a model's own router loss is not ours, if so."""
    outputs = model(input_ids=probe_ids(model, 6), output_router_logits=True, use_cache=False)
    expected = getattr(outputs, "aux_loss", None)
    if not isinstance(expected, Tensor) or not outputs.router_logits:
        return "has no router loss"
    logits = outputs.router_logits
    tokens = logits[0].flatten(0, -2).shape[0]
    sums = routed(logits, torch.ones(tokens, device=logits[0].device), top_k)
    found = balancing_loss(sums.load, sums.probability, float(tokens * len(logits)))
    if not torch.allclose(found.float(), expected.float(), rtol=1e-2):  # theirs may be of bfloat16
        return f"computes {expected.item():.4g} where load balancing would be {found.item():.4g}"
    return None
