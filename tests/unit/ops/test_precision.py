"""The type of the products follows the setting and the device."""

from __future__ import annotations

import pytest
import torch

from orpo.errors import ConfigError
from orpo.ops.precision import autocast, autocast_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "has_bfloat16", "precision", "expected"),
    [
        (CPU, False, "auto", None),
        (CPU, False, "float32", None),
        (CPU, False, "bfloat16", torch.bfloat16),
        (CPU, False, "float16", torch.float16),
        (GPU, True, "auto", torch.bfloat16),
        (GPU, True, "bfloat16", torch.bfloat16),
        (GPU, False, "auto", None),
        (GPU, False, "float16", torch.float16),
        (GPU, False, "float32", None),
    ],
)
def test_the_type_follows_the_setting_and_the_device(
    device: torch.device,
    has_bfloat16: bool,
    precision: str,
    expected: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    assert autocast_dtype(precision, device) == expected


def test_bfloat16_on_a_gpu_without_it_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(ConfigError, match="Tesla T4 has no bfloat16"):
        autocast_dtype("bfloat16", GPU)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_autocast_sets_the_type_of_products_and_nothing_where_there_is_none(
    dtype: torch.dtype | None,
) -> None:
    matrix = torch.ones(2, 2)
    with autocast(CPU, dtype):
        assert (matrix @ matrix).dtype == (dtype or torch.float32)
