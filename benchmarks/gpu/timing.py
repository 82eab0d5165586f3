"""How long a piece of work takes on a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Median time of `work` after two rounds of warm-up."""
    for _ in range(2):
        work()
    times: list[float] = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            before = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - before))
    return median(times)


def product_rate(dtype: torch.dtype, size: int, device: torch.device) -> float:
    """FLOP/s of a square matrix product of random numbers."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2e3 * size**3 / milliseconds(lambda: a @ b, device, 5)
