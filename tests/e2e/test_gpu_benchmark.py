"""The GPU benchmark runs from end to end as far as a CPU can, and counts operations and memory rightly."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from orpo.batch import Layout, PackedAttention, PromptTokens
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.ops.attention import backends
from orpo.ops.attention.backends import Backend

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "run.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_smoke_test_runs_every_kind_of_part_and_names_what_it_skips(tmp_path: Path) -> None:
    checks = (
        "machine",
        "attention",
        "head",
        "step",
        "flex",
        "activations",
        "qlora",
        "optimizers",
        "sharding",
    )
    parts = (*checks, "ours llama-1b full", "compiled llama-8b lora", "trl llama-1b full")
    done = run("--out", tmp_path, "--smoke", "--only", *parts)
    assert done.returncode == 0, done.stderr[-2000:]
    results = rows(tmp_path)
    assert {row["part"] for row in results} == set(parts)
    if not torch.cuda.is_available():
        skipped = {row["what"] for row in results if row.get("skipped") == "needs CUDA"}
        assert skipped >= {"varlen", "flex", "host syncs", "Triton epilogue"}
    rungs = [row for row in results if row["part"].startswith("ours") and "pairs_per_s" in row]
    assert len(rungs) == 5
    assert all(row["pairs_per_s"] > 0 for row in rungs)
    tables = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert all(f"## {part}\n" in tables for part in parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the benchmark itself")
def test_a_part_that_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    done = run("--out", tmp_path, "--only", "machine", "flex", "--seconds", "60")
    assert done.returncode == 0, done.stderr
    assert [(row["what"], row["status"]) for row in rows(tmp_path)] == [
        ("machine", "failed, exit code 1; see log.txt"),
        ("flex", "failed, exit code 1; see log.txt"),
    ]
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").count("no CUDA GPU here; use --smoke") == 2


# Counting


def counting() -> ModuleType:
    spec = importlib.util.spec_from_file_location("counting", FOLDER / "counting.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAIR = TokenizedPair(tuple(range(3, 103)), tuple(range(30, 60)), tuple(range(40, 80)), "here")


def llama(layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=128,
            hidden_size=64,
            intermediate_size=224,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=2,
            head_dim=8,
            tie_word_embeddings=False,
        )
    )


class StandInForFlash(torch.autograd.Function):
    """Saves what FlashAttention saves, and multiplies nothing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.zeros_like(query)
        ctx.save_for_backward(query, key, value, output, torch.empty(query.shape[1::-1]))
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.zeros_like, ctx.saved_tensors[:3]))


def stand_in(query: Tensor, key: Tensor, value: Tensor, layout: PackedAttention, **_: Any) -> Tensor:
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    k, v = (x.index_select(0, layout.key_index) for x in (k, v))
    output: Tensor = StandInForFlash.apply(q, k, v)  # type: ignore[assignment]
    return output.transpose(0, 1)[None]


def test_useful_operations_are_those_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products as torch counts them, and attention as the mask counts them."""
    monkeypatch.setitem(backends.ATTENTION, Backend.BLOCKS, stand_in)
    model = llama(2)
    batch = collate([PAIR], Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)
    scorer = PairScorer(model, layout=Layout.SHARED, head=None)
    with FlopCounterMode(display=False) as counter, scorer.attention():
        states = scorer.model.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.attention.position_ids if batch.attention else None,
            orpo_attention=batch.attention,
            use_cache=False,
        ).last_hidden_state
        model.lm_head(states[0, batch.rows]).sum().backward()
    assert batch.attention is not None
    seen = sum(sum(range(block.prefix_length + 1, block.key_length + 1)) for block in batch.attention.blocks)
    attention = 3 * 2 * (2 * 2 * 8 * 8 * seen)
    lengths = np.array([[100, 30, 40]], dtype=np.int32)
    expected = counter.get_total_flops() + attention
    assert counting().useful_flops(model.config, lengths, frozen=False) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("frozen", [False, True], ids=["full", "lora"])
def test_activations_are_those_that_layers_save(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one layer: the difference of two models, in bf16 under autocast."""
    monkeypatch.setitem(backends.ATTENTION, Backend.BLOCKS, stand_in)
    batch = collate([PAIR], Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)
    assert batch.attention is not None

    def saved(layers: int) -> int:
        model: Any = llama(layers).to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
        if frozen:
            model = add_lora(model, r=1, alpha=1, dropout=0.0, target="all-linear")
        scorer = PairScorer(model, layout=Layout.SHARED, head=None)
        held: dict[int, Tensor] = {p.untyped_storage().data_ptr(): p for p in model.parameters()}
        parameters = set(held)

        def pack(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with (
            scorer.attention(),
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            scorer.model(
                input_ids=batch.input_ids,
                position_ids=batch.attention.position_ids if batch.attention else None,
                orpo_attention=batch.attention,
                use_cache=False,
                logits_to_keep=1,
            )
        return sum(tensor.untyped_storage().nbytes() for key, tensor in held.items() if key not in parameters)

    def formula(layers: int) -> float:
        tokens = batch.input_ids.numel()
        assert batch.attention is not None
        terms = counting().memory_terms(
            llama(layers).config,
            parameters=1,
            trained=1,
            trained_bytes=2,
            tokens=tokens,
            scored=len(batch.targets),
            key_ratio=len(batch.attention.key_index) / tokens,
            keep_rows=10**6,
            chunk_rows=10**6,
            frozen=frozen,
        )
        return terms["activations"]

    assert formula(3) - formula(2) == pytest.approx(saved(3) - saved(2), rel=0.03)


def test_the_lengths_are_those_of_a_thousand_pairs() -> None:
    record = json.loads((FOLDER / "hh_lengths.json").read_text(encoding="utf-8"))
    lengths = np.array(record["lengths"])
    assert lengths.shape == (1000, 3)
    assert lengths.min() >= 1
    assert (lengths[:, 0] + lengths[:, 1:].max(axis=1)).max() <= record["max_length"]
