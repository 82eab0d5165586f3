"""Tensors in safetensors files, written and read one by one.

The format (https://github.com/huggingface/safetensors#format) is a length, a JSON header and the tensors'
bytes.  It is written here, and not by its library, because that wants all tensors in the machine's memory at
once, which a GPU's optimizer state may exceed, and because what the system refuses stays an `OSError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.uint8: "U8",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, and return when they would outlast a power cut.

    Raises:
        OSError: the system refused.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors' bytes are aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """The tensors of a file by name, each read when it is looked at, in the machine's memory."""
    with safe_open(path, framework="pt") as file:  # pyright: ignore[reportGeneralTypeIssues]
        yield TensorFile(file)


class TensorFile(Mapping[str, Tensor]):
    """The tensors of an open file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names: list[str] = list(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def rows(self, name: str, rows: slice) -> Tensor:
        """Some rows of a tensor, without reading the others; a single number as it is."""
        part = self._file.get_slice(name)
        return part[rows] if part.get_shape() else self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
