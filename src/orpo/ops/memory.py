"""Memory in use."""

from __future__ import annotations

import sys

import psutil
import torch

if sys.platform != "win32":
    import resource


def peak_memory_bytes(device: torch.device) -> int:
    """Most bytes held at once so far: by torch on a GPU, by the whole process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the one counts bytes, the others kibibytes
