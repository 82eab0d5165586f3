"""Weights are shared out: as DTensors, layer by layer, and what cannot be is refused.

A group of one process is enough here; tests/properties/test_world_size_is_invisible.py has two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Shard
from transformers import (
    PhiConfig,
    PhiForCausalLM,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from orpo.batch import Layout
from orpo.errors import ConfigError, ResourceError
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World, join_world
from orpo.ops.sharded import whole
from orpo.training.loop import TrainingLoop
from orpo.training.sharding import is_sharded, shard, trains_few
from tests.loops import make_loop
from tests.tiny import tiny_llama


@pytest.fixture
def world() -> Iterator[World]:
    """One process, in a group."""
    with join_world(needs_group=True) as joined:
        yield joined


def scorer(model: Any) -> PairScorer:
    return PairScorer(model, layout=Layout.PADDED, head=None)


def shared_out(model: Any, world: World, **options: Any) -> PairScorer:
    made = scorer(model)
    shard(made, world, **{"dtype": None, "cpu_offload": False, **options})
    return made


def test_every_parameter_is_shared_out_by_rows_and_every_layer_is_a_group(world: World) -> None:
    made = shared_out(tiny_llama(layers=3), world)
    assert is_sharded(made)
    parameters = list(made.parameters())
    assert parameters
    for parameter in parameters:
        assert isinstance(parameter, DTensor)
        assert parameter.placements == (Shard(0),)
        assert parameter.device_mesh.size() == 1
    groups = [name for name, module in made.named_modules() if isinstance(module, FSDPModule)]
    assert groups == ["", *(f"model.model.layers.{i}" for i in range(3))]


def test_a_scorer_that_is_not_shared_out_says_so() -> None:
    assert not is_sharded(scorer(tiny_llama()))


def final(**settings: Any) -> tuple[dict[str, torch.Tensor], TrainingLoop]:
    model = settings.pop("model")
    loop = make_loop(model=model, max_steps=4, max_tokens=60, **settings)
    loop.run()
    return {name: whole(p.detach()) for name, p in model.named_parameters()}, loop


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_single_process_makes_the_same_bytes(world: World, dtype: torch.dtype) -> None:
    first, second = (tiny_llama(initializer_range=0.2) for _ in range(2))
    for model in (first, second):
        model.to(dtype=dtype)  # pyright: ignore[reportCallIssue]
    expected, _ = final(model=first)
    found, loop = final(model=second, world=world, parallel="fsdp")
    assert is_sharded(loop._gradient_step.plain.scorer)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_narrow_products_are_those_of_autocast_to_rounding(world: World, precision: str) -> None:
    """Layers' norms are sent in the narrow type too; all else is what autocast makes of it."""
    start = dict(tiny_llama(initializer_range=0.2).named_parameters())
    settings: dict[str, Any] = {"precision": precision, "adam_epsilon": 0.1}
    expected, _ = final(model=tiny_llama(initializer_range=0.2), **settings)
    found, _ = final(model=tiny_llama(initializer_range=0.2), world=world, parallel="fsdp", **settings)
    for name, value in expected.items():
        change = value - start[name].detach()
        assert (found[name] - value).norm() <= 0.03 * change.norm(), name
        assert found[name].dtype == torch.float32


class GradientsBetween(TrainerCallback):
    """Whether this process has its rows of the gradient between two micro-batches."""

    def __init__(self) -> None:
        self.seen: set[bool] = set()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trained = [p for p in kwargs["model"].parameters() if p.requires_grad]
        self.seen |= {p.grad is not None for p in trained}


def test_gradients_of_adapters_are_exchanged_once_per_step_and_those_of_all_weights_at_once(
    world: World,
) -> None:
    """Whole gradients of all weights would take the memory that sharing them out saves."""
    adapted = add_lora(tiny_llama(), r=1, alpha=2, dropout=0.0, target=["q_proj"])
    assert trains_few(scorer(adapted))
    for model, exchanged in ((adapted, False), (tiny_llama(), True)):
        between = GradientsBetween()
        final(model=model, world=world, parallel="fsdp", callbacks=[between])
        assert between.seen == {exchanged}


def test_adapters_that_were_off_in_the_first_pass_are_trained_in_later_ones(world: World) -> None:
    """As for a reference; PEFT lets weights that are off need no gradient."""
    model = add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target=["q_proj"])
    loop = make_loop(model=model, world=world, parallel="fsdp", max_steps=2)
    batch = loop._batches.micro_batch(list(loop._batches.pairs)[:2])
    step = loop._gradient_step
    with torch.no_grad(), model.disable_adapter(), step.plain.scorer.attention():
        step.plain.scorer(batch)
    before = {name: whole(p.detach()).clone() for name, p in model.named_parameters() if "lora_B" in name}
    loop.run()
    after = dict(model.named_parameters())
    assert all(not torch.equal(whole(after[name].detach()), value) for name, value in before.items())


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw_8bit", "lion", "lion_8bit", "muon"])
def test_an_optimizer_of_whole_tensors_is_refused(world: World, optimizer: str) -> None:
    with pytest.raises(ConfigError, match=f"training.optimizer: {optimizer} needs whole tensors") as refusal:
        make_loop(model=tiny_llama(), world=world, parallel="fsdp", optimizer=optimizer)
    assert "Use adamw" in (refusal.value.hint or "")


def test_a_model_without_known_layers_is_refused(world: World) -> None:
    model = torch.nn.Linear(4, 4)
    model.get_base_model = None  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="Linear has no layers that are known"):
        shared_out(model, world)


def test_trained_weights_of_two_types_in_a_layer_are_refused(world: World) -> None:
    model = tiny_llama().bfloat16()
    model.model.layers[1].input_layernorm.float()
    with pytest.raises(ConfigError, match=r"of one type in each layer.*got bfloat16 and float32"):
        shared_out(model, world)


def test_frozen_weights_may_be_of_another_type_than_adapters(world: World) -> None:
    model = add_lora(tiny_llama().bfloat16(), r=2, alpha=4, dropout=0.0, target="all-linear")
    final(model=model, world=world, parallel="fsdp")


def test_layers_of_other_families_are_known(world: World) -> None:
    config = PhiConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    made = shared_out(PhiForCausalLM(config), world)
    assert sum(isinstance(module, FSDPModule) for module in made.modules()) == 3


def test_offloading_has_no_effect_beside_a_processor_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="orpo"):
        shared_out(tiny_llama(), world, cpu_offload=True)
    assert "training.cpu_offload has no effect" in caplog.text


def test_memory_that_runs_out_ends_a_run_whose_weights_are_shared_out(world: World) -> None:
    """After a pass that has failed, FSDP would add what is left of its gradients to the next."""
    model = tiny_llama()

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("in the backward pass")

    loop = make_loop(model=model, world=world, parallel="fsdp", max_steps=1)
    model.model.layers[0].mlp.register_full_backward_hook(fail)  # type: ignore[arg-type]
    with pytest.raises(ResourceError, match=r"out of memory on cpu, in training at step 1") as refusal:
        loop.run()
    assert "Set training.max_tokens=" in (refusal.value.hint or "")


def test_a_budget_is_not_chosen_from_a_pass_that_has_failed(world: World) -> None:
    model, passes = tiny_llama(), []

    def fail_at_second(*_: object) -> None:
        passes.append(1)
        if len(passes) == 2:
            raise torch.OutOfMemoryError("with several pairs")

    model.model.layers[0].mlp.register_full_backward_hook(fail_at_second)  # type: ignore[arg-type]
    with pytest.raises(ResourceError, match=r"while training.max_tokens was chosen, with \d+ tokens"):
        make_loop(model=model, world=world, parallel="fsdp", max_tokens="auto", layout=Layout.PADDED)


def test_nothing_is_said_of_a_process_group_of_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    make_loop(model=tiny_llama(), world=world, parallel="fsdp")
    assert "process group" not in caplog.text
