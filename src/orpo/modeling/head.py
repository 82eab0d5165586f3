"""The output head of a model: found, understood by trying, and turned into log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from orpo.ops.epilogue import LogitTransform, log_normalise
from orpo.ops.head import target_log_probs

CHUNK_BYTES = {"cpu": 16 * 2**20, "cuda": 2**30}
"""Head outputs held at a time, float32."""

KEEP_BYTES = {"cpu": 256 * 2**20, "cuda": 2 * 2**30}
"""Head outputs kept for the backward pass, which saves computing them again."""


class OutputHead(Protocol):
    """From final hidden states to log-probabilities of target tokens."""

    def __call__(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """(N, D) hidden states and (N,) token ids to (N,) log-probabilities."""
        ...


@dataclass(frozen=True)
class FusedHead:
    """A plain linear head, without a batch of logits.

    Reads the layer's parameters; gradients reach them like any others.
    """

    layer: nn.Linear
    transform: LogitTransform

    def __call__(self, hidden: Tensor, targets: Tensor) -> Tensor:
        weight = self.layer.weight
        kind = hidden.device.type
        row_bytes = 4 * len(weight)
        return target_log_probs(
            hidden,
            weight,
            self.layer.bias,
            targets,
            transform=self.transform,
            chunk_size=max(1, CHUNK_BYTES.get(kind, CHUNK_BYTES["cpu"]) // row_bytes),
            keep_rows=KEEP_BYTES.get(kind, KEEP_BYTES["cpu"]) // row_bytes,
        )


@dataclass(frozen=True)
class ModuleHead:
    """A head that is more than a linear layer, such as one with LoRA adapters: its own forward, in chunks."""

    layer: nn.Module
    transform: LogitTransform
    vocab_size: int

    def __call__(self, hidden: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cpu"]) // (4 * self.vocab_size))
        parts = [
            checkpoint(self._log_probs, states, ids, use_reentrant=False)
            for states, ids in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        return torch.cat(parts)  # type: ignore[arg-type]  checkpoint is not typed

    def _log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        outputs = self.layer(hidden)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return log_normalise(outputs, targets, self.transform)[0]


def find_head(model: PreTrainedModel) -> OutputHead | None:
    """The head of `model`, if what follows its hidden states can be told; checked on a few tokens."""
    layer = model.get_output_embeddings()
    decoder = model.base_model
    if layer is None or decoder is model:
        return None
    ids = probe_ids(model, 6)
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        outputs = layer(decoder(input_ids=ids, use_cache=False).last_hidden_state)
        transform = next(
            (t for t in _candidates(model.config.get_text_config()) if _same(t(outputs), expected)), None
        )
    if transform is None:
        return None
    if type(layer) is nn.Linear and not (layer._forward_hooks or layer._forward_pre_hooks):
        return FusedHead(layer, transform)
    return ModuleHead(layer, transform, expected.shape[-1])


def probe_ids(model: PreTrainedModel, count: int) -> Tensor:
    """(1, count) different token ids for trying a model out, on its device."""
    vocab_size = model.config.get_text_config().vocab_size
    ids = torch.arange(1, count + 1).mul(7919).remainder(vocab_size)
    return ids[None].to(model.device)


def _candidates(config: PreTrainedConfig) -> Iterator[LogitTransform]:
    """The transforms that a configuration can mean, the declared ones first.

    A softcap far above the logits changes them by less than rounding does, so the order matters.
    """
    softcap = getattr(config, "final_logit_softcapping", None)
    scales = [
        factor
        for name in ("logit_scale", "lm_head_multiplier", "output_multiplier", "logits_scaling")
        if (value := getattr(config, name, None))
        for factor in (value, 1 / value)
    ]
    for cap in dict.fromkeys((softcap, None)):
        for scale in dict.fromkeys((*scales, 1.0)):
            yield LogitTransform(scale, cap)


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    noise = 8 * torch.finfo(expected.dtype).eps * expected.abs().max().item()
    return (found - expected).abs().max().item() <= noise
