#!/usr/bin/env python3
"""Memory of methods and of micro-batches at the shapes of three models: arithmetic, nothing is measured.

    python benchmarks/shapes.py

The terms are those that `memory.py` measures one by one on a small model; here with bfloat16 weights, the
GPU's way of keeping activations, and the limits that the head has on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from cpu.report import table

GB = 1e9
TOKENS = 8192
"""Of a micro-batch."""

HEAD_BYTES = 2**31 + 2**30
"""Outputs of the pairs that a GPU scores together, and of the chunk that is computed (`modeling/head`)."""

TRAINED = {"adamw": 14, "lion": 10, "adamw_8bit": 8, "adafactor": 6}
"""Bytes for each trained weight of bfloat16: the table of docs/scaling.md."""

FROZEN = 2


@dataclass(frozen=True)
class Shape:
    """A published model."""

    parameters: float
    hidden: int
    layers: int
    intermediate: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int

    @property
    def inputs(self) -> int:
        """Bytes of the layers' inputs, which `gradient_checkpointing: true` keeps."""
        return TOKENS * self.layers * 2 * self.hidden

    @property
    def layer(self) -> int:
        """Bytes that one layer keeps: norms their input in float32, the other operators in bfloat16."""
        attention = 4 * self.heads * self.head_size + 4 * self.key_heads * self.head_size
        return TOKENS * (16 * self.hidden + attention + 8 * self.intermediate)

    @property
    def head(self) -> int:
        """Bytes of the head's outputs, and of the sum of its weights' gradient in float32."""
        return HEAD_BYTES + 4 * self.vocabulary * self.hidden


SHAPES = {
    "Qwen2.5-0.5B": Shape(0.494e9, 896, 24, 4864, 14, 2, 64, 151_936),
    "Llama-3.1-8B": Shape(8.03e9, 4096, 32, 14_336, 32, 8, 128, 128_256),
    "Llama-3.1-70B": Shape(70.55e9, 8192, 80, 28_672, 64, 8, 128, 128_256),
}

METHODS = {
    "SFT, ORPO, SimPO": (1, 0),
    "DPO, scores of the reference kept (ours)": (1, 0),
    "DPO, reference in memory": (1, 1),
    "PPO: policy, critic, reference, reward model": (2, 2),
}
"""How many models are trained, and how many are there beside them."""


def main() -> None:
    rows = [
        [f"{method}; {optimizer}", f"{size * trained + FROZEN * frozen}"]
        + [f"{(size * trained + FROZEN * frozen) * shape.parameters / GB:,.0f}" for shape in SHAPES.values()]
        for optimizer, size in TRAINED.items()
        for method, (trained, frozen) in METHODS.items()
        if optimizer == "adamw" or method.startswith("SFT")
    ]
    print(table(["GB: weights, gradients and optimizer state", "bytes per weight", *SHAPES], rows))
    terms = {
        "all layers keep everything": lambda shape: shape.layers * shape.layer,
        "`true`: the layers' inputs": lambda shape: shape.inputs,
        "`true`: the layer that is computed again": lambda shape: shape.layer,
        "head": lambda shape: shape.head,
    }
    micro_batch = [
        [term, *(f"{size(shape) / GB:,.1f}" for shape in SHAPES.values())] for term, size in terms.items()
    ]
    print()
    print(table([f"GB, {TOKENS:,} tokens", *SHAPES], micro_batch))


if __name__ == "__main__":
    main()
