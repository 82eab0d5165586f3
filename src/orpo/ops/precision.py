"""The type of the matrix products, and of what follows them."""

from __future__ import annotations

import torch

from orpo.errors import ConfigError

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type to autocast to; None for float32.

    Args:
        precision: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 on a GPU that has it, else float32.

    Raises:
        ConfigError: the device lacks the type that was asked for.
    """
    has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and has_bfloat16 else None
    if precision == "bfloat16" and not has_bfloat16:
        name = torch.cuda.get_device_name(device)
        raise ConfigError(f"training.precision: {name} has no bfloat16", hint="Use float16, float32 or auto.")
    return _AUTOCAST.get(precision)


def widened(dtype: torch.dtype) -> torch.dtype:
    """The type of what follows products of `dtype`, such as a softmax or a sum: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def processor_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; others emulate it, slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Autocast to `dtype` on `device`; nothing changes if `dtype` is None."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
