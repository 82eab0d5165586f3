"""How long a piece of work takes on a device, and what is left there of the work before."""

from __future__ import annotations

import gc
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


def forget(device: torch.device) -> None:
    """Give back the memory of what is in use no more, and measure the peak from here on."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
