"""Memory is counted in bytes."""

from __future__ import annotations

import psutil
import torch

from orpo.ops.memory import peak_memory_bytes


def test_on_a_cpu_the_peak_is_that_of_the_process_in_bytes() -> None:
    resident = psutil.Process().memory_info().rss
    peak = peak_memory_bytes(torch.device("cpu"))
    assert 0.99 * resident <= peak <= psutil.virtual_memory().total
