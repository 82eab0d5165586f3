"""What is written is what safetensors' own library reads, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orpo.training.checkpoint.tensors import open_tensors, write_tensors

TENSORS = {
    "weights": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "wide": torch.tensor([[1.0 / 3]], dtype=torch.float64),
    "half": torch.tensor([1.5, -2.0, 3.0]).half(),
    "brain": torch.tensor([1e30, -1e-30]).bfloat16(),
    "step": torch.tensor(7.0),
    "ids": torch.tensor([2**40, -1]),
    "state": torch.arange(5, dtype=torch.uint8),
    "small": torch.tensor([-3, 2], dtype=torch.int16),
    "empty": torch.zeros(0, 4),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "not a number": torch.tensor([float("nan"), float("inf")]),
}


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS)
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(read[name]) == bits(tensor), name


def test_tensors_are_read_one_by_one(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS)
    with open_tensors(tmp_path / "a.safetensors") as read:
        assert len(read) == len(TENSORS)
        assert set(read) == set(TENSORS)
        assert bits(read["brain"]) == bits(TENSORS["brain"])


def test_nothing_is_a_file_too(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {})
    with open_tensors(tmp_path / "a.safetensors") as read:
        assert dict(read) == {}


def test_a_refusal_of_the_system_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "missing" / "a.safetensors", TENSORS)
