"""Gradients are taken by the embeddings of one reading of them."""

from __future__ import annotations

import pytest
import torch

from orpo.modeling.probing import by_embeddings
from tests.tiny import tiny_llama

IDS = torch.tensor([[5, 6, 7]])


def test_outputs_are_the_same_and_their_gradient_reaches_no_parameter() -> None:
    model = tiny_llama()
    made, embedded = by_embeddings(model, lambda: model(input_ids=IDS).logits)
    assert torch.equal(made, model(input_ids=IDS).logits)
    (gradient,) = torch.autograd.grad(made.square().sum(), embedded)
    assert gradient.shape == (1, 3, 32)
    assert gradient.ne(0).any(-1).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_embeddings_that_are_read_twice_are_an_error() -> None:
    model = tiny_llama()
    with pytest.raises(RuntimeError, match="read 2 times"):
        by_embeddings(model, lambda: model(input_ids=IDS).logits + model(input_ids=IDS).logits)
    assert not model.get_input_embeddings()._forward_hooks
