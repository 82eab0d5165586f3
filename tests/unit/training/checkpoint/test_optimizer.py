"""An optimizer goes on from its tensors as if it had never stopped."""

from __future__ import annotations

import torch
from torch import nn

from orpo.training.checkpoint.optimizer import optimizer_tensors, set_optimizer_tensors


def made() -> tuple[dict[str, nn.Parameter], torch.optim.AdamW]:
    parameters = {name: nn.Parameter(torch.ones(2, 3)) for name in ("layer.weight", "layer/odd")}
    return parameters, torch.optim.AdamW(parameters.values(), lr=0.1, fused=True)


def step(parameters: dict[str, nn.Parameter], optimizer: torch.optim.AdamW, scale: float) -> None:
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, scale)
    optimizer.step()


def test_the_next_step_is_the_same_to_the_bit() -> None:
    parameters, optimizer = made()
    step(parameters, optimizer, 1.0)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer, parameters).items()}
    weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    step(parameters, optimizer, -3.0)

    others, again = made()
    for name, parameter in others.items():
        parameter.data.copy_(weights[name])
    set_optimizer_tensors(again, others, saved)
    step(others, again, -3.0)
    assert all(torch.equal(others[name], parameters[name]) for name in parameters)


def test_tensors_are_named_after_parameters_in_one_order_whatever_the_state_s() -> None:
    parameters, optimizer = made()
    assert optimizer_tensors(optimizer, parameters) == {}
    step(parameters, optimizer, 1.0)
    names = list(optimizer_tensors(optimizer, parameters))
    assert names == [f"{name}/{key}" for name in parameters for key in ("exp_avg", "exp_avg_sq", "step")]
    state = optimizer.state[parameters["layer.weight"]]
    state["step"] = state.pop("step")
    assert list(optimizer_tensors(optimizer, parameters)) == names
