"""Every optimizer by name: what it updates, what it keeps, that it can be stopped, saved and gone on with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError
from orpo.training.checkpoint.optimizer import optimizer_tensors, set_optimizer_tensors
from orpo.training.checkpoint.tensors import open_tensors, write_tensors
from orpo.training.optim import STATE_BYTES, make_optimizer, make_schedule, state_bytes
from orpo.training.optimizers.algorithms import ALGORITHMS
from orpo.training.optimizers.split import LOW, joined
from tests.tiny import tiny_llama

OURS = ["adamw", "adafactor", "muon"]
BITSANDBYTES = ["adamw_8bit", "lion", "lion_8bit"]
DTYPES = [torch.float32, torch.bfloat16]


def settings(name: str, **given: Any) -> TrainingSection:
    if name in BITSANDBYTES:
        pytest.importorskip("bitsandbytes")
    return TrainingSection(**({"optimizer": name, "learning_rate": 1e-3, "warmup": 0} | given))


def model(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """With matrices large enough for 8-bit state."""
    return as_type(tiny_llama(hidden=64, layers=1), dtype)


def as_type(net: Any, dtype: torch.dtype) -> LlamaForCausalLM:
    return net.to(dtype)


def parameters(net: nn.Module) -> dict[str, nn.Parameter]:
    return dict(net.named_parameters())


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    optimizer.step()


def everything(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {**parameters(net), **optimizer_tensors(optimizer, parameters(net))}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_all_names_are_tested_and_are_the_configurations() -> None:
    known = TrainingSection.model_fields["optimizer"].annotation.__args__  # type: ignore[union-attr]
    assert set(OURS + BITSANDBYTES) == set(ALGORITHMS) == set(known)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_goes_on_from_a_file_to_the_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    section = settings(name, weight_decay=0.1)
    net = model(dtype)
    optimizer = make_optimizer(net, section)
    for seed in range(3):
        step(net, optimizer, seed)
    write_tensors(tmp_path / "state.safetensors", optimizer_tensors(optimizer, parameters(net)))
    again = model(dtype)
    again.load_state_dict({name: value.clone() for name, value in net.state_dict().items()})
    fresh = make_optimizer(again, section)
    with open_tensors(tmp_path / "state.safetensors") as tensors:
        set_optimizer_tensors(fresh, parameters(again), tensors)
    for seed in (3, 4):
        step(net, optimizer, seed)
        step(again, fresh, seed)
    assert same(everything(net, optimizer), everything(again, fresh))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_step_that_is_left_out_touches_neither_weights_nor_state(name: str, dtype: torch.dtype) -> None:
    net = model(dtype)
    optimizer = make_optimizer(net, settings(name, weight_decay=0.1))
    step(net, optimizer, 0)
    before = everything(net, optimizer)
    optimizer.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.step()
    assert same(before, everything(net, optimizer))
    optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
    step(net, optimizer, 1)
    assert not torch.equal(before["lm_head.weight"], net.lm_head.weight)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_bfloat16_weights_are_updated_as_float32_to_the_bit(name: str) -> None:
    """Gradients and start are numbers of bfloat16; the learning rate is too small for it."""
    wide, narrow = as_type(model(torch.bfloat16), torch.float32), model(torch.bfloat16)
    optimizers = [make_optimizer(net, settings(name, learning_rate=8e-6)) for net in (wide, narrow)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for pair in zip(wide.parameters(), narrow.parameters(), strict=True):
            gradient = torch.randn(pair[0].shape, generator=generator).bfloat16()
            for parameter in pair:
                parameter.grad = gradient.to(parameter.dtype)
        for optimizer in optimizers:
            optimizer.step()
    for key, parameter in wide.named_parameters():
        high = narrow.get_parameter(key)
        low = optimizers[1].state[high][LOW]
        assert torch.equal(joined(high.detach(), low), parameter), key
        assert low.any(), key


@pytest.mark.parametrize("name", ALGORITHMS)
def test_matrices_are_decayed_and_vectors_are_not(name: str) -> None:
    net = model()
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    optimizer = make_optimizer(net, settings(name, learning_rate=0.1, weight_decay=0.5))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), before[key] * (0.95 if p.ndim >= 2 else 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_memory_of_its_state_is_known_before_it_exists(name: str, dtype: torch.dtype) -> None:
    section = settings(name)
    net = as_type(tiny_llama(hidden=128, layers=1), dtype)
    optimizer = make_optimizer(net, section)
    step(net, optimizer, 0)
    held = sum(v.nbytes for state in optimizer.state.values() for v in state.values() if torch.is_tensor(v))
    tables = 2 * 1024 * len(optimizer.state) if "8bit" in name else 0  # as large as it is for any tensor
    weights = sum(p.numel() for p in net.parameters())
    assert held - tables <= state_bytes(net, section) + 0.2 * weights
    assert held >= 0.95 * state_bytes(net, section)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_schedule_reaches_every_group(name: str) -> None:
    section = settings(name, schedule="linear")
    optimizer = make_optimizer(model(), section)
    schedule = make_schedule(optimizer, section, 10)
    optimizer.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]  and a first step that is left out
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([9e-4] * len(schedule.base_lrs))


def test_muon_has_the_matrices_of_the_layers_and_adamw_the_others() -> None:
    net = model()
    optimizer = make_optimizer(net, settings("muon"))
    step(net, optimizer, 0)
    by_muon = {key for key, p in net.named_parameters() if "momentum_buffer" in optimizer.state[p]}
    assert by_muon == {key for key, p in net.named_parameters() if ".layers." in key and p.ndim == 2}
    others = {key for key, p in net.named_parameters() if "exp_avg_sq" in optimizer.state[p]}
    assert others == set(parameters(net)) - by_muon
    assert {group[STATE_BYTES] for group in optimizer.param_groups} == {4, 8}


def test_muons_updates_are_as_large_as_adamws() -> None:
    """So that a learning rate for one of them is one for both."""
    changes = {}
    for name in ("adamw", "muon"):
        net, start = model(), model()
        step(net, make_optimizer(net, settings(name, learning_rate=1e-3)), 0)
        key = "model.layers.0.mlp.up_proj.weight"
        changes[name] = (net.get_parameter(key) - start.get_parameter(key)).square().mean().sqrt().item()
    assert 0.1 < changes["muon"] / changes["adamw"] < 0.4, "0.2 by construction, at most 1 by Adam's"


def test_settings_of_adam_are_refused_where_they_would_do_nothing() -> None:
    with pytest.raises(ConfigError, match=r"training.adam_beta2: adafactor has no such setting, got 0.95"):
        make_optimizer(model(), settings("adafactor", adam_beta2=0.95))


def test_float16_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="float16 weights cannot be trained"):
        make_optimizer(model(torch.float16), settings("adamw"))


def test_without_bitsandbytes_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="adamw_8bit is bitsandbytes'") as caught:
        make_optimizer(model(), TrainingSection(optimizer="adamw_8bit"))
    assert "orpo[bitsandbytes]" in str(caught.value.hint)
