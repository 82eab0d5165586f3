"""Merged weights are the model with its adapters, in every family that PEFT has adapters for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from orpo.errors import ConfigError
from orpo.modeling.lora import add_lora
from orpo.modeling.merge import merged_weights
from tests.families import zoo

FAMILIES = zoo.SHARED | {name: family for name, (family, _) in zoo.PADDED.items()}

REFUSED = {"falcon_h1", "mamba", "mamba2"}
"""Whose layers PEFT adapts none of with `all-linear`."""

IDS = torch.arange(3, 15)[None]


def logits(model: nn.Module) -> Tensor:
    return model.eval()(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - REFUSED))
def test_merged_weights_are_the_model_with_its_adapters(name: str) -> None:
    model = add_lora(FAMILIES[name].build(), r=2, alpha=4, dropout=0.0, target="all-linear")
    before = logits(model)
    before.square().mean().backward()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None and parameter.grad.any():  # the others stay nothing in training too
                parameter.add_(0.2 * torch.randn_like(parameter))
        expected = logits(model)
        merged = FAMILIES[name].build()
        merged.load_state_dict(merged_weights(model))
        assert (expected - before).norm() > 0.05 * before.norm()
        assert (logits(merged) - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_peft_refuses_is_refused_before_training(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora\.target: .*incompatible"):
        add_lora(FAMILIES[name].build(), r=2, alpha=4, dropout=0.0, target="all-linear")
