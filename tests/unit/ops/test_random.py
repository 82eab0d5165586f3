"""Generators go on from their states."""

from __future__ import annotations

import json
import random

import numpy as np
import torch

from orpo.ops.random import other_states, set_other_states, set_torch_states, torch_states

CPU = torch.device("cpu")


def draw() -> list[float]:
    return [
        torch.rand(()).item(),
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.standard_normal()),
    ]


def test_all_generators_draw_again_what_they_drew() -> None:
    draw()  # leaves half of a pair of normal numbers behind, in Python's generator and in NumPy's
    tensors, others = torch_states(CPU), json.loads(json.dumps(other_states()))
    drawn = draw()
    draw()
    set_torch_states(CPU, tensors)
    set_other_states(others)
    assert draw() == drawn
