"""The states of random generators."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def torch_states(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that PyTorch draws from, such as for dropout, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_torch_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Go on drawing from `states`; generators that they do not have stay as they are."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def other_states() -> dict[str, Any]:
    """The states of the global generators of Python and NumPy, as JSON holds them."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [str(kind), np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }


def set_other_states(states: Mapping[str, Any]) -> None:
    """Go on drawing from what `other_states` has said."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
