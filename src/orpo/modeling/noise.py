"""Dropout and its like: what makes two passes over the same tokens differ in training, set to 0."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from orpo.modeling.head import probe_ids
from orpo.modeling.kinds import Outputs
from orpo.modeling.overrides import override
from orpo.modeling.probing import FAILURES, unnoticed
from orpo.modeling.scorer import evaluating

log = logging.getLogger(__name__)

PROBED = 8
"""Tokens of the text that a model is tried on."""


@dataclass(frozen=True)
class _Noise:
    """A place that forward passes read a probability, or the width of a jitter, from."""

    owner: nn.Module | PreTrainedConfig
    key: str
    value: float

    @property
    def name(self) -> str:
        return f"Dropout({self.value})" if isinstance(self.owner, nn.Dropout) else f"{self.key}={self.value}"

    @property
    def is_jitter(self) -> bool:
        return "jitter" in self.key


def silence(model: PreTrainedModel, outputs: Outputs) -> None:
    """Set to 0, and name, what makes training random; what is saved of the model's configuration stays.

    A jitter that evaluation computes with too is part of the function that is trained, and stays.

    Args:
        model: before its first forward pass in training.
        outputs: what it makes of each token.
    """
    noises = list(_noises(model))
    needed = _needed_in_evaluation(model, outputs, [noise for noise in noises if noise.is_jitter])
    silenced = [noise for noise in noises if noise.key not in needed]
    for noise in silenced:
        if isinstance(noise.owner, PreTrainedConfig):
            override(model, noise.owner, noise.key, 0.0)
        else:
            setattr(noise.owner, noise.key, 0.0)
    if silenced:
        log.info("dropout set to 0 for training: %s", ", ".join(sorted({noise.name for noise in silenced})))
    for name in sorted({noise.name for noise in noises if noise.key in needed}):
        log.info("%s stays, since evaluation computes with it too; its training may be random", name)


def _noises(model: PreTrainedModel) -> Iterator[_Noise]:
    """Those above 0, of modules and of the configurations that modules go on reading once they are made."""
    configs: dict[int, PreTrainedConfig] = {}
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            yield _Noise(module, "p", module.p)
        yield from _attributes(module)
        config = getattr(module, "config", None)
        if isinstance(config, PreTrainedConfig):
            configs[id(config)] = config
    for config in configs.values():
        yield from _attributes(config)


def _attributes(owner: nn.Module | PreTrainedConfig) -> Iterator[_Noise]:
    """Probabilities of dropping attention, layers or anything else, and a router's jitter."""
    for key, value in vars(owner).items():
        if ("drop" in key or "jitter" in key) and isinstance(value, float) and value > 0:
            yield _Noise(owner, key, value)


@torch.no_grad()
def _needed_in_evaluation(model: PreTrainedModel, outputs: Outputs, jitters: Sequence[_Noise]) -> set[str]:
    """Names of the jitters that change what is computed in evaluation.

    Each is set to 1 for that, since what a small one does may not show in a few tokens.
    """
    if not jitters:
        return set()
    ids = probe_ids(model, PROBED)
    needed: set[str] = set()
    with evaluating(model):
        usual = outputs(model, input_ids=ids)
        for key in {jitter.key for jitter in jitters}:
            with _widened([jitter for jitter in jitters if jitter.key == key]):
                if not torch.equal(outputs(model, input_ids=ids), usual):
                    needed.add(key)
    return needed


@contextmanager
def _widened(jitters: Sequence[_Noise]) -> Iterator[None]:
    """Jitters of 1 for a while."""
    for jitter in jitters:
        setattr(jitter.owner, jitter.key, 1.0)
    try:
        yield
    finally:
        for jitter in jitters:
            setattr(jitter.owner, jitter.key, jitter.value)


def warn_if_random(model: PreTrainedModel, name: str, outputs: Outputs) -> None:
    """Say so if training is random all the same, by running a text twice.

    Args:
        model: in evaluation mode; stays in it.
        name: of the model, for the message.
        outputs: what it makes of each token.
    """
    if _is_random(model, outputs):
        log.warning(
            "%s is random in training though its dropout is 0: how a batch is split into micro-batches "
            "changes the update",
            name,
        )


@torch.no_grad()
def _is_random(model: PreTrainedModel, outputs: Outputs) -> bool:
    """Whether two passes in training mode differ.

    One that fails says nothing here: training would say it in its first step, and evaluation does without.
    """
    ids = probe_ids(model, PROBED)

    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return outputs(model, input_ids=ids)

    model.train()
    try:
        with unnoticed(model):
            return not torch.allclose(made(0), made(1), rtol=0, atol=0, equal_nan=True)
    except torch.OutOfMemoryError:
        raise
    except FAILURES:
        return False
    finally:
        model.eval()
