"""The output head of a model: found, understood by trying, and turned into log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from orpo.ops.epilogue import LogitTransform
from orpo.ops.head import GradientSum, target_log_probs
from orpo.ops.logprobs import logits_log_probs

CHUNK_BYTES = {"cpu": 32 * 2**20, "cuda": 2**30}
"""Head outputs computed at a time, float32."""

PART_BYTES = {"cpu": 32 * 2**20, "cuda": 2 * 2**30}
"""Head outputs of the pairs that are scored together, float32."""

KEEP_BYTES = {"cpu": 128 * 2**20, "cuda": 2 * 2**30}
"""Head outputs kept for the backward pass of a single pair, which saves computing them again."""

MIN_ROWS = 256
"""However large the vocabulary: with fewer, a product takes longer for each of them."""


SMALL_OUTPUTS = 2**18
"""Head outputs on a processor up to which a trained head takes less time with whole logits, as measured by
benchmarks/head.py: with so few, what takes the time is calling operators, and the fused head calls more."""


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
        return self.log_probs(hidden, self.layer.weight, self.layer.bias, targets)

    def log_probs(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weight_gradient: GradientSum | None = None,
    ) -> Tensor:
        """The same with other parameters in the place of the layer's; see `target_log_probs`."""
        is_small = hidden.device.type == "cpu" and len(hidden) * len(weight) <= SMALL_OUTPUTS
        if is_small and weight.requires_grad and weight_gradient is None:
            return logits_log_probs(self.transform(F.linear(hidden, weight, bias)), targets)
        return target_log_probs(
            hidden,
            weight,
            bias,
            targets,
            transform=self.transform,
            chunk_size=_rows(CHUNK_BYTES, hidden.device, len(weight)),
            keep_rows=_rows(KEEP_BYTES, hidden.device, len(weight)),
            weight_gradient=weight_gradient,
        )

    @property
    def part_rows(self) -> int:
        """Rows of the pairs that are best scored together."""
        return _rows(PART_BYTES, self.layer.weight.device, len(self.layer.weight))

    @property
    def is_trained(self) -> bool:
        """Whether its parameters need a gradient; else nothing but derivatives of states is kept."""
        return any(parameter.requires_grad for parameter in self.layer.parameters())


def _rows(limits: Mapping[str, int], device: torch.device, vocab_size: int) -> int:
    """Rows of float32 head outputs that fit in a limit, or as many as a product should have."""
    return max(MIN_ROWS, limits.get(device.type, limits["cpu"]) // (4 * vocab_size))


@dataclass(frozen=True)
class ModuleHead:
    """A head that is more than a linear layer, such as one with LoRA adapters: its own forward, in chunks."""

    layer: nn.Module
    transform: LogitTransform
    vocab_size: int

    def __call__(self, hidden: Tensor, targets: Tensor) -> Tensor:
        rows = _rows(CHUNK_BYTES, hidden.device, self.vocab_size)
        parts = [
            checkpoint(self._log_probs, states, ids, use_reentrant=False)
            for states, ids in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        return torch.cat(parts)  # type: ignore[arg-type]  checkpoint is not typed

    def _log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return logits_log_probs(self.transform(self.layer(hidden)), targets)


def find_head(model: PreTrainedModel) -> OutputHead | None:
    """The head of `model`, if what it is given and what becomes of its outputs can be told; None otherwise.

    Outputs of our own choosing take the place of the head's, since those of a few tokens could be too small
    to show a softcap.
    """
    layer = model.get_output_embeddings()
    decoder = model.base_model
    if layer is None or decoder is model:
        return None
    given: list[Tensor] = []
    outputs: list[Tensor] = []

    def substitute(_layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        given.append(args[0])
        outputs.append(_spread(output))
        return outputs[-1].clone()  # a model may write over it

    ids = probe_ids(model, 6)
    with torch.no_grad():
        with layer.register_forward_hook(substitute):
            logits = model(input_ids=ids, use_cache=False).logits
        hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
    if len(given) != 1 or given[0].dtype != hidden.dtype or not _same(given[0], hidden):
        return None
    # The nearest, not the first that will do: in bfloat16 a scale and its inverse may both.
    transform = min(
        _candidates(model.config.get_text_config()),
        key=lambda t: (t(outputs[0]).float() - logits.float()).norm().item(),
    )
    if not _same(transform(outputs[0]), logits):
        return None
    if _is_plain_linear(layer):
        return FusedHead(layer, transform)
    return ModuleHead(layer, transform, logits.shape[-1])


def _spread(like: Tensor) -> Tensor:
    """Values from -100 to 100, different ones in neighbouring places, so that no cap or scale is lost."""
    steps = torch.arange(like.numel(), device=like.device).mul(7919).remainder(2001)
    return ((steps - 1000) / 10).view_as(like).to(like.dtype)


def _is_plain_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer's parameters are all that it does: adapters, hooks and quantisation add to them."""
    has_hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
    return type(layer) is nn.Linear and not has_hooks and "forward" not in vars(layer)


def probe_ids(model: PreTrainedModel, count: int) -> Tensor:
    """(1, count) different token ids for trying a model out, on its device."""
    vocab_size = model.config.get_text_config().vocab_size
    ids = torch.arange(1, count + 1).mul(7919).remainder(vocab_size)
    return ids[None].to(model.device)


def _candidates(config: PreTrainedConfig) -> Iterator[LogitTransform]:
    """The transforms that a configuration can mean."""
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
    """Whether nothing but some roundings of each number makes a difference."""
    if found.shape != expected.shape:
        return False
    noise = 4 * torch.finfo(expected.dtype).eps * expected.abs() + 1e-6
    return bool(((found - expected).abs() <= noise).all())
