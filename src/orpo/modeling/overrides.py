"""Values of a model's configuration that are others while it is in memory than in what is saved of it.

Forward passes read some settings from the configuration itself, so that training can do without them only by
changing it there.  What is saved keeps the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

_ATTRIBUTE = "orpo_overrides"
"""Of the model, since it has to come along with copies of it."""


@dataclass(frozen=True)
class _Override:
    """A setting's own value and the one that it has in memory."""

    config: PreTrainedConfig
    key: str
    own: Any
    live: Any


def override(model: nn.Module, config: PreTrainedConfig, key: str, value: Any) -> None:
    """Give a setting another value until the model is saved.

    Args:
        model: which forward passes are meant.
        config: its configuration, or that of one of its parts.
        key: name of the setting.
        value: what forward passes read from now on.
    """
    made = _Override(config, key, getattr(config, key), value)
    setattr(model, _ATTRIBUTE, (*_overrides(model), made))
    setattr(config, key, value)


@contextmanager
def own_settings(model: nn.Module) -> Iterator[None]:
    """The model's configuration as it came, to be written; no forward pass may run meanwhile."""
    for one in _overrides(model):
        setattr(one.config, one.key, one.own)
    try:
        yield
    finally:
        for one in _overrides(model):
            setattr(one.config, one.key, one.live)


def _overrides(model: nn.Module) -> tuple[_Override, ...]:
    return getattr(model, _ATTRIBUTE, ())
