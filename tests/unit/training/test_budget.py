"""A budget is chosen from what a step takes, and halved when that is too much; the run is the same."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import LlamaForCausalLM, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.batch import Layout
from orpo.data.batching import tokens_held
from orpo.errors import ResourceError
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import unwrapped
from orpo.ops.distributed import World
from orpo.ops.memory import MicroBatchMemoryError, memory_meter
from orpo.training import budget
from orpo.training.budget import GRANULE, SPARE, SPEED_CAP, BudgetChange, StepCost, TokenBudget
from orpo.training.loop import TrainingLoop
from orpo.training.optim import unallocated_bytes
from tests.loops import ALONE, make_loop, random_pairs
from tests.tiny import tiny_llama

CPU = torch.device("cpu")
PAIRS = random_pairs(20)


def full() -> LlamaForCausalLM:
    return tiny_llama(initializer_range=0.2)


def adapters_with_dropout() -> PeftModel:
    model = add_lora(full(), r=4, alpha=8.0, dropout=0.5, target="all-linear")
    assert isinstance(model, PeftModel)
    return model


class Events(TrainerCallback):
    """Every event, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda *args, **kwargs: self.names.append(name)


def weights(loop: TrainingLoop) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in loop._model.named_parameters()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


def exhaust(*_: object) -> None:
    """Ask for more than any machine has."""
    torch.empty(2**50, dtype=torch.uint8)


def embedding(loop: TrainingLoop) -> torch.nn.Module:
    """The layer that every forward pass begins with."""
    return unwrapped(loop._model).get_input_embeddings()


def final_norm(loop: TrainingLoop) -> torch.nn.Module:
    """The layer that every forward pass of the decoder ends with, and its backward pass begins with."""
    return unwrapped(loop._model).get_submodule("model.norm")


# Choosing


@pytest.mark.parametrize("model", [full, adapters_with_dropout])
@pytest.mark.parametrize("layout", [Layout.SHARED, Layout.PADDED])
def test_a_run_with_auto_equals_one_with_the_same_number(
    tmp_path: Path, model: Callable[[], LlamaForCausalLM | PeftModel], layout: Layout
) -> None:
    runs: list[tuple[dict[str, Tensor], bytes, list[str]]] = []
    chosen: int | Literal["auto"] = "auto"
    for name in ("auto", "given"):
        events = Events()
        loop = make_loop(
            model=model(),
            layout=layout,
            max_tokens=chosen,
            run_dir=tmp_path / name,
            log_every=1,
            callbacks=[events],
        )
        chosen = loop.budget.tokens
        torch.manual_seed(5)
        loop.run()
        runs.append((weights(loop), (tmp_path / name / "metrics.jsonl").read_bytes(), events.names))
    assert_equal(runs[0][0], runs[1][0])
    assert runs[0][1:] == runs[1][1:]


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_everything_as_it_was(training: bool) -> None:
    model = adapters_with_dropout()
    loop = make_loop(model=model, max_tokens=100)
    model.train(training)
    before, random = weights(loop), torch.get_rng_state()
    step = replace(loop._gradient_step)
    budget.choose_budget(step, loop._batches, loop._optimizer)
    assert_equal(weights(loop), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in model.parameters())
    assert not loop._optimizer.state
    assert model.training is training


def test_with_memory_to_spare_speed_decides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orpo"):
        loop = make_loop(max_tokens="auto")
    assert loop.budget.changes == [BudgetChange(0, SPEED_CAP["cpu"], "speed cap")]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "orpo.training.budget"]
    measured = r"measured \d,\d{3} bytes per token, so [\d,]+ tokens fit into memory"
    assert re.fullmatch(f"max_tokens: 4,096, by speed cap; {measured}", line)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_pass_of_the_chosen_size_fits_in_the_memory_that_there_was(
    monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    """Gradients and optimizer state included, which did not exist when the budget was chosen."""
    free = 10 * 2**20
    monkeypatch.setattr(budget, "free_memory_bytes", lambda device: free)
    pairs = random_pairs(400)
    loop = make_loop(pairs=pairs, max_tokens="auto", layout=layout, batch_size=400)
    (change,) = loop.budget.changes
    assert change.why == "memory"
    assert 1024 <= change.tokens < SPEED_CAP["cpu"]
    assert change.tokens % GRANULE == 0

    longest_first = (-pairs.lengths.sum(axis=1)).argsort()
    number = max(
        n for n in range(1, 400) if tokens_held(pairs.lengths[longest_first[:n]], layout) <= change.tokens
    )
    batch = loop._batches.take(longest_first[:number])
    largest = loop._batches.micro_batch(batch.pairs)
    assert largest.input_ids.numel() > 0.9 * change.tokens
    for parameter in loop._parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    held = memory_meter(CPU)(lambda: loop._gradient_step([largest], batch.totals, lambda: None))
    needed = held + unallocated_bytes(loop._optimizer)
    usable = (1 - SPARE["cpu"]) * free
    assert 0.5 * usable < needed <= usable


def test_what_the_first_step_adds_is_known_before_it() -> None:
    loop = make_loop(max_tokens=1000, max_steps=1)
    gradients = sum(p.nbytes for p in loop._parameters.values())
    loop.run()
    moments = [value for state in loop._optimizer.state.values() for value in state.values() if value.ndim]
    assert unallocated_bytes(loop._optimizer) == gradients + sum(value.nbytes for value in moments)


def test_the_budget_is_never_below_the_longest_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "free_memory_bytes", lambda device: 1)
    loop = make_loop(pairs=PAIRS, max_tokens="auto", layout=Layout.SHARED)
    assert loop.budget.changes == [BudgetChange(0, int(PAIRS.lengths.sum(axis=1).max()), "longest pair")]


def test_several_processes_take_the_smallest_of_their_budgets() -> None:
    class Second(World):
        def smallest(self, value: int) -> int:
            return min(value, 1024)

    loop = make_loop(max_tokens="auto", world=Second(0, 1, CPU))
    assert loop.budget.changes == [BudgetChange(0, 1024, "memory")]


def test_processes_without_a_gpu_share_the_machines_memory() -> None:
    assert World(1, 4, CPU).sharing_memory == 4
    assert World(1, 4, CPU, local_size=2).sharing_memory == 2
    assert World(1, 4, torch.device("cuda", 1)).sharing_memory == 1


def test_one_pair_is_enough_to_choose_from() -> None:
    assert make_loop(pairs=random_pairs(1), max_tokens="auto").budget.tokens == SPEED_CAP["cpu"]


def test_if_only_the_longest_pair_fits_it_alone_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    through = StepCost.through
    samples: list[Any] = []

    def spy(found: Any) -> StepCost:
        samples.append(found)
        return through(found)

    monkeypatch.setattr(StepCost, "through", spy)
    longest = int(PAIRS.lengths.sum(axis=1).max())
    model = full()

    def limited(_module: object, args: tuple[Tensor, ...]) -> None:
        if args[0].numel() > longest:
            exhaust()

    loop = make_loop(model=model, pairs=PAIRS, max_tokens=100, layout=Layout.SHARED)
    embedding(loop).register_forward_pre_hook(limited)
    budget.choose_budget(loop._gradient_step, loop._batches, loop._optimizer)
    assert [[tokens for tokens, _ in found] for found in samples] == [[longest]]


def test_if_the_longest_pair_does_not_fit_the_run_ends_before_it_began() -> None:
    loop = make_loop(pairs=PAIRS, max_tokens=100, layout=Layout.SHARED)
    embedding(loop).register_forward_hook(exhaust)
    with pytest.raises(ResourceError, match="out of memory on cpu with a single pair of") as caught:
        budget.choose_budget(loop._gradient_step, loop._batches, loop._optimizer)
    assert "data.max_length" in str(caught.value.hint)


def test_the_cost_is_the_line_through_the_samples() -> None:
    assert StepCost.through([(100, 5000)]) == StepCost(0, 50)
    assert StepCost.through([(100, 5000), (300, 13_000)]) == StepCost(1000, 40)
    assert StepCost.through([(100, 1000), (300, 9000)]) == StepCost(0, 40), "growing faster than its tokens"
    assert StepCost(1000, 40).tokens_within(9050) == 201
    assert StepCost(1000, 40).tokens_within(-1) == 0


# Halving


def run_out_of_memory(
    loop: TrainingLoop, *, step: int, at_pass: int, backward: bool
) -> list[weakref.ref[Tensor]]:
    """Let memory run out once, in the nth pass of a step; returns the hidden states that this try made."""
    made: list[weakref.ref[Tensor]] = []

    def hook(_module: object, _args: object, output: Tensor) -> None:
        if loop.step + 1 != step or len(loop.budget.changes) > 1:
            return
        made.append(weakref.ref(output))
        if len(made) == at_pass:
            if backward:
                output.register_hook(exhaust)
            else:
                exhaust()

    final_norm(loop).register_forward_hook(hook)
    return made


@pytest.mark.parametrize("model", [full, adapters_with_dropout])
@pytest.mark.parametrize(("at_pass", "backward"), [(1, False), (1, True), (2, False), (2, True)])
def test_running_out_of_memory_equals_a_budget_that_is_halved_there(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    model: Callable[[], LlamaForCausalLM | PeftModel],
    at_pass: int,
    backward: bool,
) -> None:
    """Bit for bit, in weights, metrics and events; also with dropout, whose draws the failed try has used."""
    step, start = 2, 120
    runs: list[tuple[dict[str, Tensor], bytes, list[str]]] = []

    class Halve(TrainerCallback):
        def on_step_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
        ) -> None:
            if not fails and state.global_step + 1 == step:
                loop.budget.changes.append(BudgetChange(step, start // 2, "by hand"))

    for fails in (True, False):
        events = Events()
        loop = make_loop(
            model=model(),
            layout=Layout.SHARED,
            max_tokens=start,
            run_dir=tmp_path / f"fails {fails}",
            log_every=1,
            callbacks=[events, Halve()],
        )
        made = run_out_of_memory(loop, step=step, at_pass=at_pass, backward=backward) if fails else []
        torch.manual_seed(5)
        loop.run()
        if fails:
            assert len(made) == at_pass
            assert loop.budget.changes == [
                BudgetChange(0, start, "given"),
                BudgetChange(step, start // 2, "out of memory in training"),
            ]
        metrics = (tmp_path / f"fails {fails}" / "metrics.jsonl").read_bytes()
        runs.append((weights(loop), metrics, events.names))
    assert_equal(runs[0][0], runs[1][0])
    assert runs[0][1:] == runs[1][1:]
    assert f"step {step}: out of memory in training with a micro-batch of " in caplog.text
    assert f"max_tokens is {start // 2} from here on" in caplog.text


def test_nothing_of_the_failed_try_is_held_when_the_next_one_begins() -> None:
    model = full()
    loop = make_loop(model=model, layout=Layout.SHARED, max_tokens=120, max_steps=1)
    made = run_out_of_memory(loop, step=1, at_pass=2, backward=False)
    held: list[object] = []

    def look(_module: object, _args: object) -> None:
        if len(loop.budget.changes) > 1 and not held:
            held.extend([ref() for ref in made] + [p.grad for p in model.parameters()])

    embedding(loop).register_forward_pre_hook(look)
    loop.run()
    assert len(held) == 2 + len(list(model.parameters()))
    assert set(held) == {None}


def test_the_budget_is_halved_until_the_micro_batch_is_split() -> None:
    """One of 10,000,000 tokens is not near what failed; halving it once would fail the same way."""
    loop = make_loop(layout=Layout.SHARED, max_tokens=10**7, max_steps=2)
    tries: list[int] = []

    def limited(_module: object, args: tuple[Tensor, ...]) -> None:
        tries.append(args[0].numel())
        if args[0].numel() > 200:
            exhaust()

    embedding(loop).register_forward_pre_hook(limited)
    loop.run()
    failed = [held for held in tries if held > 200]
    budgets = [change.tokens for change in loop.budget.changes]
    assert len(budgets) == len(failed) + 1
    for held, tokens in zip(failed, budgets[1:], strict=True):
        assert held / 2 <= tokens < held


def test_a_single_pair_that_does_not_fit_ends_the_run_and_says_what_to_do() -> None:
    loop = make_loop(pairs=PAIRS, layout=Layout.SHARED, max_tokens=1)
    longest = int(PAIRS.lengths.sum(axis=1).max())

    def limited(_module: object, args: tuple[Tensor, ...]) -> None:
        if args[0].numel() == longest:
            exhaust()

    embedding(loop).register_forward_pre_hook(limited)
    with pytest.raises(
        ResourceError, match=f"out of memory on cpu with a single pair of {longest} tokens: "
    ) as e:
        loop.run()
    for remedy in ("data.max_length", "training.gradient_checkpointing", "model.lora"):
        assert remedy in str(e.value.hint)
    assert loop.budget.changes == [BudgetChange(0, 1, "given")]


def fail(pairs: int, tokens: int) -> None:
    raise MicroBatchMemoryError("no room", pairs=pairs, tokens=tokens)


def test_several_processes_do_not_halve_but_name_the_budget_to_set() -> None:
    shared = TokenBudget(4096, "given", World(1, 2, CPU))
    with pytest.raises(ResourceError, match=r"at step 7, with training\.max_tokens=4096") as caught:
        shared.fit(lambda tokens, tell: fail(3, 1500), lambda: None, step=7, during="training")
    assert "Set training.max_tokens=1024." in str(caught.value.hint)
    assert shared.tokens == 4096


def test_other_errors_end_the_try() -> None:
    alone = TokenBudget(4096, "given", ALONE)

    def attempt(tokens: int, tell: Callable[[], None]) -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        alone.fit(attempt, lambda: None, step=1, during="training")


def test_passes_are_told_of_as_often_as_the_last_try_has_them() -> None:
    alone = TokenBudget(4096, "given", ALONE)
    told: list[int] = []

    def attempt(tokens: int, tell: Callable[[], None]) -> int:
        for done in range(4096 // tokens * 2):
            if tokens > 1024 and done == 1:
                fail(2, tokens)
            tell()
        return tokens

    assert alone.fit(attempt, lambda: told.append(alone.tokens), step=3, during="evaluation") == 1024
    assert told == [4096] + 7 * [1024]
    assert [(change.step, change.why) for change in alone.changes[1:]] == [
        (3, "out of memory in evaluation")
    ] * 2
