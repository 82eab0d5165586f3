"""Compiled layers compute the same, and are compiled once for all lengths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor
from transformers import AttentionInterface

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.errors import ConfigError
from orpo.modeling.attention import NAME, attend
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.compilation import compile_layers
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO
from orpo.training.loss import PairLoss
from tests.loops import random_pairs
from tests.tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # torch's tracer hides some by a filter of its own


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    AttentionInterface.register(NAME, attend)


def losses_and_gradient(*, compiled: bool, checkpointed: bool) -> tuple[list[float], Tensor, int]:
    """Losses of batches of 2 to 7 pairs, the sum of their gradients, and how many graphs were compiled."""
    model = tiny_llama(initializer_range=0.2)
    if checkpointed:
        checkpoint_activations(model)
    scorer = build_scorer(model.train(), layout=Layout.SHARED, max_length=128)
    counted = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    if compiled:
        compile_layers(model, backend=counted)
    loss = PairLoss(scorer, ORPO())
    losses: list[float] = []
    graphs: list[int] = []
    for count in range(2, 8):
        pairs = list(random_pairs(20))[count : 2 * count]
        batch = collate(pairs, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
        with scorer.attention():
            output = loss(batch, batch_totals(pairs, PromptTokens.ALL), torch.ones(()))
            output.loss.backward()
        losses.append(output.loss.item())
        graphs.append(counted.frame_count)
    assert graphs[1:] == graphs[1:2] * 5, "compiled again for another length"
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return losses, gradient, graphs[-1]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_layers_compute_the_same_and_never_compile_again_for_another_length(
    checkpointed: bool,
) -> None:
    losses, gradient, graphs = losses_and_gradient(compiled=False, checkpointed=checkpointed)
    assert graphs == 0
    found, found_gradient, graphs = losses_and_gradient(compiled=True, checkpointed=checkpointed)
    assert graphs > 0
    assert found == pytest.approx(losses, rel=1e-6)
    assert (found_gradient - gradient).norm() <= 1e-5 * gradient.norm()


def test_a_model_without_known_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layers that are known to compile"):
        compile_layers(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
