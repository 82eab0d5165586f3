"""Metrics of held-out pairs equal the paper's formulas and do not depend on the split."""

from __future__ import annotations

from typing import Any, ClassVar

import mpmath
import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from orpo.batch import Layout
from orpo.data.tokenized import TokenizedPairs
from orpo.errors import NumericsError
from orpo.evaluation.pairs import evaluate_pairs
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO
from orpo.objectives.orpo import Definition
from orpo.ops.distributed import World
from orpo.ops.memory import MicroBatchMemoryError
from tests import oracles
from tests.loops import ALONE, random_pairs
from tests.tiny import tiny_llama

LAMBDA = 0.3
PAIRS = random_pairs(11)


class InTurn(World):
    """One of several processes that run one after the other; the last one's sums are those of all."""

    so_far: ClassVar[list[Tensor]] = []

    def sum(self, values: Tensor) -> Tensor:
        self.so_far.append(values)
        return torch.stack(self.so_far).sum(0)


def model() -> LlamaForCausalLM:
    return tiny_llama(initializer_range=0.3).double().eval()


def evaluate(
    definition: Definition, max_tokens: int, world: World = ALONE, pairs: TokenizedPairs = PAIRS
) -> dict[str, float]:
    return evaluate_pairs(
        build_scorer(model(), layout="auto", max_length=128),
        ORPO(LAMBDA, definition),
        pairs,
        pad_id=0,
        max_tokens=max_tokens,
        world=world,
        dtype=None,
    )


def token_log_probs(network: LlamaForCausalLM, ids: tuple[int, ...]) -> list[float]:
    """log p of every token after the first, from an unpadded forward of one row."""
    with torch.no_grad():
        log_probs = network(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return log_probs.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).flatten().tolist()


def oracle_pairs() -> list[oracles.TokenPair]:
    network = model()
    result: list[oracles.TokenPair] = []
    for pair in PAIRS:
        start = len(pair.prompt) - 1
        chosen = token_log_probs(network, pair.prompt + pair.chosen)
        rejected = token_log_probs(network, pair.prompt + pair.rejected)
        result.append(oracles.TokenPair(chosen[:start], chosen[start:], rejected[start:]))
    return result


def preference_share(a_w: Any, a_l: Any) -> Any:
    """The slopes of LAMBDA * L_OR at the two averages, beside L_NLL's, which is 1."""
    wrong = 1 / (1 + mpmath.exp(oracles.log_odds_ratio(a_w, a_l)))
    pull = LAMBDA * wrong * (1 / (1 - mpmath.exp(a_w)) + 1 / (1 - mpmath.exp(a_l)))
    return pull / (1 + pull)


@pytest.mark.parametrize("definition", ["paper", "trl"])
def test_metrics_equal_the_papers_formulas(definition: Definition) -> None:
    pairs = oracle_pairs()
    means = [(oracles.mean(p.chosen), oracles.mean(p.rejected)) for p in pairs]
    ratios = [oracles.log_odds_ratio(a_w, a_l) for a_w, a_l in means]
    expected = {
        "loss": oracles.orpo_loss(pairs, LAMBDA, definition),
        "nll_loss": oracles.orpo_loss(pairs, 0, definition),
        "log_odds_ratio": -oracles.mean([oracles.or_loss(a_w, a_l) for a_w, a_l in means]),
        "log_odds_chosen": oracles.mean(ratios),
        "odds_saturated": 0.0,
        "preference_share": oracles.mean([preference_share(a_w, a_l) for a_w, a_l in means]),
        "rewards/chosen": LAMBDA * oracles.mean([a_w for a_w, _ in means]),
        "rewards/rejected": LAMBDA * oracles.mean([a_l for _, a_l in means]),
        "rewards/margins": LAMBDA * oracles.mean([a_w - a_l for a_w, a_l in means]),
        "rewards/accuracies": oracles.mean([float(a_w > a_l) for a_w, a_l in means]),
        "logps/accuracies": oracles.mean([float(a_w > a_l) for a_w, a_l in means]),
        "logps/chosen": oracles.mean([a_w for a_w, _ in means]),
        "logps/rejected": oracles.mean([a_l for _, a_l in means]),
        "logps_sum/chosen": oracles.mean([sum(p.chosen) for p in pairs]),
        "logps_sum/rejected": oracles.mean([sum(p.rejected) for p in pairs]),
    }
    assert 0 < expected["rewards/accuracies"] < 1
    found = evaluate(definition, max_tokens=200)
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-9)


@pytest.mark.parametrize("definition", ["paper", "trl"])
@pytest.mark.parametrize("max_tokens", [1, 150])
def test_the_token_budget_changes_nothing(definition: Definition, max_tokens: int) -> None:
    whole = evaluate(definition, max_tokens=10**6)
    assert evaluate(definition, max_tokens) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("max_tokens", [1, 10**6])
def test_the_shares_of_several_processes_add_up_to_the_whole(max_tokens: int) -> None:
    InTurn.so_far.clear()
    found = [evaluate("trl", max_tokens, InTurn(rank, 3, torch.device("cpu"))) for rank in range(3)]
    expected = evaluate("trl", max_tokens=10**6)
    assert found[-1] == pytest.approx(expected, rel=1e-12)
    assert found[0] != pytest.approx(expected, rel=1e-3)


def test_every_forward_pass_is_told_and_keeps_no_graph() -> None:
    calls: list[bool] = []
    scorer = build_scorer(model(), layout="auto", max_length=128)

    def on_forward() -> None:
        calls.append(torch.is_grad_enabled())

    evaluate_pairs(
        scorer, ORPO(), PAIRS, pad_id=0, max_tokens=1, world=ALONE, dtype=None, on_forward=on_forward
    )
    assert calls == [False] * len(PAIRS)


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    broken = model()
    torch.nn.init.constant_(broken.lm_head.weight, torch.nan)
    with pytest.raises(NumericsError, match=r"held-out pairs is not finite \(nan\)"):
        evaluate_pairs(
            build_scorer(broken, layout="auto", max_length=128),
            ORPO(),
            PAIRS,
            pad_id=0,
            max_tokens=100,
            world=ALONE,
            dtype=None,
        )


def test_running_out_of_memory_names_the_micro_batch() -> None:
    scorer = build_scorer(model(), layout=Layout.SHARED, max_length=128)
    longest = int(PAIRS.lengths.sum(axis=1).max())

    def limited(_module: object, args: tuple[Tensor, ...]) -> None:
        if args[0].numel() >= longest:
            torch.empty(2**50, dtype=torch.uint8)

    scorer.model.get_input_embeddings().register_forward_pre_hook(limited)  # type: ignore[operator]
    with pytest.raises(MicroBatchMemoryError) as caught:
        evaluate_pairs(scorer, ORPO(), PAIRS, pad_id=0, max_tokens=1, world=ALONE, dtype=None)
    assert (caught.value.pairs, caught.value.tokens) == (1, longest)
