"""The loop's order of things, its logs and its stops."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.batch import Layout, Scores, Totals
from orpo.errors import NumericsError
from orpo.modeling import head
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.objectives import ORPO, ObjectiveOutput
from orpo.ops.means import weighted
from orpo.training.loop import TrainingLoop
from tests.loops import make_loop, random_pairs
from tests.tiny import tiny_llama

METRICS = {
    "loss",
    "nll_loss",
    "log_odds_ratio",
    "log_odds_chosen",
    "odds_saturated",
    "preference_share",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    "logps/accuracies",
    "logps_sum/chosen",
    "logps_sum/rejected",
}


def read(path: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def test_rows_of_metrics_and_timing_have_the_promised_keys(tmp_path: Path) -> None:
    make_loop(run_dir=tmp_path, epochs=2, log_every=2).run()
    rows, timing = read(tmp_path, "metrics.jsonl"), read(tmp_path, "timing.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert set(rows[0]) == {"step", "split", "grad_norm", "learning_rate", *METRICS}
    assert set(timing[0]) == {"step", "tokens_per_second", "pairs_per_second", "seconds", "peak_memory_bytes"}
    assert [row["step"] for row in timing] == [row["step"] for row in rows]


def test_the_last_steps_are_logged_even_between_logging_steps(tmp_path: Path) -> None:
    make_loop(run_dir=tmp_path, max_steps=5, log_every=3).run()
    assert [row["step"] for row in read(tmp_path, "metrics.jsonl")] == [3, 5]


def test_a_train_row_is_the_pair_weighted_mean_since_the_last_one(tmp_path: Path) -> None:
    """20 pairs in batches of 8, 8 and 4: the partial batch counts half."""
    each, together = tmp_path / "each", tmp_path / "together"
    make_loop(run_dir=each, log_every=1, shuffle=False).run()
    make_loop(run_dir=together, log_every=3, shuffle=False).run()
    singles, (row,) = read(each, "metrics.jsonl"), read(together, "metrics.jsonl")
    for name in (*METRICS, "grad_norm"):
        mean = sum(w * single[name] for w, single in zip((8, 8, 4), singles, strict=True)) / 20
        assert row[name] == pytest.approx(mean, rel=1e-5), name


def test_metrics_are_the_same_bytes_for_the_same_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_loop(run_dir=tmp_path / name, epochs=2, log_every=1).run()
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == (tmp_path / "b" / "metrics.jsonl").read_bytes()


def test_training_lowers_the_loss_and_raises_the_margin(tmp_path: Path) -> None:
    make_loop(run_dir=tmp_path, epochs=12, learning_rate=5e-3, log_every=3, objective=ORPO(1.0)).run()
    rows = read(tmp_path, "metrics.jsonl")
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["log_odds_chosen"] > rows[0]["log_odds_chosen"] + 0.5


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({"epochs": 1}, 3), ({"epochs": 2}, 6), ({"epochs": 0.5}, 2), ({"epochs": 9, "max_steps": 4}, 4)],
)
def test_the_number_of_steps_follows_epochs_and_max_steps(settings: dict[str, Any], steps: int) -> None:
    loop = make_loop(**settings)
    assert loop.total_steps == steps
    loop.run()
    assert loop.step == steps


def test_evaluation_happens_before_training_every_n_steps_and_at_the_end() -> None:
    loop = make_loop(evaluate=lambda on_forward: {"loss": 1.0}, max_steps=5, eval_every=2)
    loop.run()
    assert [step for step, _ in loop.course.evaluations] == [0, 2, 4, 5]


def test_without_eval_every_evaluation_happens_first_and_last() -> None:
    loop = make_loop(evaluate=lambda on_forward: {"loss": 1.0}, max_steps=4)
    loop.run()
    assert [step for step, _ in loop.course.evaluations] == [0, 4]


def test_the_gradient_is_clipped_to_the_limit() -> None:
    norms: list[float] = []

    class Norms(TrainerCallback):
        def on_pre_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            model = kwargs["model"]
            assert isinstance(model, torch.nn.Module)
            gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
            norms.append(torch.stack(gradients).norm().item())

    make_loop(max_steps=2, max_grad_norm=0.01, callbacks=[Norms()]).run()
    make_loop(max_steps=2, max_grad_norm=None, callbacks=[Norms()]).run()
    assert norms[:2] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert all(norm > 0.1 for norm in norms[2:])


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(run_dir=tmp_path, log_every=1)

    def poisoned(scores: Scores, totals: Totals) -> ObjectiveOutput:
        loss = scores.chosen.sum() * math.nan
        return ObjectiveOutput(loss, {"loss": weighted(loss, torch.ones(()))})

    object.__setattr__(loop._gradient_step.loss, "objective", poisoned)
    with pytest.raises(NumericsError, match="not finite"):
        loop.run()
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_products_train_float32_weights_close_to_float32(precision: str) -> None:
    changes: list[torch.Tensor] = []
    for used in ("float32", precision):
        model = tiny_llama(initializer_range=0.2)
        before = model.lm_head.weight.detach().clone()
        make_loop(model=model, max_steps=3, precision=used, warmup=0.0).run()
        assert model.lm_head.weight.dtype == torch.float32
        changes.append(model.lm_head.weight.detach() - before)
    similarity = torch.cosine_similarity(changes[0].flatten(), changes[1].flatten(), dim=0)
    assert similarity > 0.9


def test_an_overflow_of_float16_skips_the_update_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scale is 2^16 at first, so a loss of this size overflows until it has come down."""
    loop = make_loop(
        run_dir=tmp_path,
        epochs=8,
        log_every=1,
        precision="float16",
        objective=ORPO(300.0),
        learning_rate=1e-4,
    )
    with caplog.at_level("INFO", logger="orpo"):
        loop.run()
    rows = read(tmp_path, "metrics.jsonl")
    assert "update skipped" in caplog.text
    assert 0 < len(rows) < loop.total_steps
    assert all(math.isfinite(row["grad_norm"]) for row in rows)


def test_the_best_evaluation_decides_which_step_is_saved() -> None:
    losses = iter([1.0, 3.0, 2.0, 2.5])
    saved: list[int] = []
    loop = make_loop(
        evaluate=lambda on_forward: {"loss": next(losses)},
        save=lambda: saved.append(loop.step),
        max_steps=3,
        eval_every=1,
        select="best",
    )
    loop.run()
    assert saved == [1, 2]
    assert loop.course.model_step == 2, "the evaluation before training does not compete"


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    loop = make_loop(run_dir=tmp_path, log_every=1)

    def infinite_slope(scores: Scores, totals: Totals) -> ObjectiveOutput:
        loss = (scores.chosen * 0).sum() + torch.sqrt((scores.chosen * 0).abs()).sum()
        return ObjectiveOutput(loss, {"loss": weighted(loss, torch.ones(()))})

    object.__setattr__(loop._gradient_step.loss, "objective", infinite_slope)
    with pytest.raises(NumericsError, match="grad_norm is not finite"):
        loop.run()


def test_gradient_checkpointing_changes_nothing() -> None:
    plain, checkpointed = tiny_llama(initializer_range=0.2), tiny_llama(initializer_range=0.2)
    checkpoint_activations(checkpointed)
    for model in (plain, checkpointed):
        make_loop(model=model, max_steps=3).run()
    for a, b in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_the_data_order_follows_the_seed() -> None:
    def final(**settings: Any) -> torch.Tensor:
        model = tiny_llama(initializer_range=0.2)
        make_loop(model=model, pairs=random_pairs(20), **settings).run()
        return model.lm_head.weight.detach()

    assert torch.equal(final(seed=1), final(seed=1))
    assert not torch.equal(final(seed=1), final(seed=2))
    assert not torch.equal(final(seed=1), final(seed=1, shuffle=False))


def test_interruption_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop()

    def interrupt(self: TrainingLoop, batch: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLoop, "_update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run()


# The device is not waited for


aten = torch.ops.aten


class DeviceReads(TorchDispatchMode):
    """Counts operators whose result the host needs to go on, so that it waits for a GPU."""

    WAITING = (
        aten._local_scalar_dense,
        aten._unique2,
        aten.equal,
        aten.is_nonzero,
        aten.masked_select,
        aten.nonzero,
        aten.unique_dim,
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = func.overloadpacket
        indices = args[1] if kind in (aten.index, aten.index_put, aten.index_put_) else ()
        masks = any(index is not None and index.dtype == torch.bool for index in indices)
        self.count += masks or kind in self.WAITING
        return func(*args, **(kwargs or {}))


class TensorsToHost(TorchFunctionMode):
    """Counts the methods that copy a tensor to the host, which are no operators where it is there already."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in ("__array__", "cpu", "numpy", "tolist")
        return func(*args, **(kwargs or {}))


def host_syncs(loop: TrainingLoop) -> int:
    """How often the host would wait for a GPU in a run."""
    with DeviceReads() as reads, TensorsToHost() as copies:
        loop.run()
    return reads.count + copies.count


@pytest.mark.parametrize("layout", [Layout.SHARED, Layout.PACKED])
@pytest.mark.parametrize(
    "settings", [{}, {"max_grad_norm": None}, {"precision": "bfloat16"}, {"precision": "float16"}], ids=str
)
def test_the_host_waits_for_the_device_once_per_logging_step_and_else_never(
    layout: Layout, settings: dict[str, Any]
) -> None:
    """Several micro-batches per step; the last step is always logged."""

    def syncs(steps: int, log_every: int) -> int:
        loop = make_loop(layout=layout, max_tokens=100, max_steps=steps, log_every=log_every, **settings)
        return host_syncs(loop)

    assert syncs(1, 100) == syncs(4, 100) == 1
    assert syncs(4, 2) == 2


def test_checkpointed_layers_do_not_wait_either() -> None:
    model = tiny_llama(initializer_range=0.2)
    checkpoint_activations(model)
    assert host_syncs(make_loop(model=model, max_steps=3, log_every=100)) == 1


def test_a_head_that_takes_its_pairs_in_parts_does_not_wait_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "MIN_ROWS", 1)
    monkeypatch.setitem(head.PART_BYTES, "cpu", 20 * 4 * 64)
    assert host_syncs(make_loop(max_steps=3, log_every=100)) == 1


@pytest.mark.parametrize(
    "read",
    [
        lambda weight: weight.sum().item(),
        lambda weight: float(weight.detach()[0, 0]),
        lambda weight: bool(weight.isnan().any()),
        lambda weight: weight.nonzero(),
        lambda weight: weight[weight > 0],
        lambda weight: torch.equal(weight, weight),
        lambda weight: weight.detach().cpu(),
        lambda weight: weight[0].tolist(),
        lambda weight: weight.detach().numpy(),
        lambda weight: weight.unique(),
        lambda weight: torch.nn.utils.clip_grad_norm_([weight], 1.0, error_if_nonfinite=True),
    ],
)
def test_every_way_of_waiting_would_be_seen(read: Callable[[torch.Tensor], object]) -> None:
    class Reads(TrainerCallback):
        def on_pre_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            read(kwargs["model"].lm_head.weight)

    assert host_syncs(make_loop(max_steps=2, log_every=100, callbacks=[Reads()])) == 3
