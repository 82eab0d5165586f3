"""A model that is shared out is whole again on the main process, and nothing is held meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.distributed.tensor import DTensor

from orpo.batch import Layout
from orpo.modeling.gathering import gathered, without_weights
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World, join_world
from orpo.training.sharding import shard
from tests.tiny import tiny_llama


@pytest.fixture
def world() -> Iterator[World]:
    with join_world(needs_group=True) as joined:
        yield joined


def tied() -> Any:
    model = tiny_llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    model.config.tie_word_embeddings = True
    return model


def adapted() -> Any:
    return add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target="all-linear")


@pytest.mark.parametrize("make", [tiny_llama, tied, adapted])
def test_the_whole_model_computes_what_it_did(world: World, make: Any) -> None:
    model = make()
    ids = torch.arange(3, 11)[None]
    expected = model(input_ids=ids).logits
    empty = without_weights(model)
    shard(PairScorer(model, layout=Layout.PADDED, head=None), world, dtype=None, cpu_offload=False)
    assert all(isinstance(p, DTensor) for p in model.parameters())

    for _ in range(2):  # it can be saved again
        found = gathered(model, empty, world)
        assert type(found) is type(empty)
        assert isinstance(found, torch.nn.Module)
        assert torch.equal(found(input_ids=ids).logits, expected)
        assert not any(isinstance(p, DTensor) for p in found.parameters())
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert {name for name, p in found.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize("make", [tiny_llama, tied, adapted])
def test_a_copy_without_weights_takes_no_memory(make: Any) -> None:
    model = make()
    empty = without_weights(model)
    parameters = dict(empty.named_parameters(remove_duplicate=False))
    assert parameters.keys() == dict(model.named_parameters(remove_duplicate=False)).keys()
    assert all(p.is_meta for p in parameters.values())
    assert not any(p.is_meta for p in model.parameters())
    base: Any = empty.get_base_model() if isinstance(empty, PeftModel) else empty
    is_tied = base.lm_head.weight is base.model.embed_tokens.weight
    assert is_tied == model.config.tie_word_embeddings


def test_other_processes_get_nothing(world: World) -> None:
    model = tiny_llama()
    empty = without_weights(model)
    assert gathered(model, empty, World(1, 2, torch.device("cpu"))) is None
