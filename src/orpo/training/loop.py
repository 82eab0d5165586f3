"""The training loop: global batches in, an aligned model and a run directory's logs out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedTokenizerBase, TrainerCallback

from orpo.config.schema import TrainingSection
from orpo.errors import NumericsError
from orpo.modeling.scorer import PairScorer
from orpo.objectives import Objective
from orpo.ops.distributed import World
from orpo.ops.means import WeightedMeans, weighted
from orpo.ops.memory import keep_freed_memory, peak_memory_bytes
from orpo.ops.precision import autocast_dtype
from orpo.rundir import RunDirectory
from orpo.training.batches import Batches, GlobalBatch
from orpo.training.budget import TokenBudget, choose_budget
from orpo.training.callbacks import Callbacks, training_arguments
from orpo.training.loss import PairLoss
from orpo.training.optim import make_optimizer, make_schedule
from orpo.training.step import GradientStep

log = logging.getLogger(__name__)

Evaluate = Callable[[Callable[[], None]], dict[str, float]]
"""Metrics of the held-out pairs; calls its argument after each forward pass."""


@dataclass
class Window:
    """What has happened since the last row of the logs."""

    means: WeightedMeans = field(default_factory=WeightedMeans)
    pairs: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.perf_counter)


def total_steps(settings: TrainingSection, batches: Batches) -> int:
    """Optimizer steps of a run."""
    return settings.max_steps or math.ceil(settings.epochs * batches.per_epoch)


class TrainingLoop:
    """Runs optimizer steps over a seeded order of pairs.

    Args:
        scorer: of the model that is trained, on the right device.
        tokenizer: handed to callbacks.
        objective: the loss.
        batches: the training pairs.
        settings: the optimisation.
        max_tokens: tokens, padding included, per forward pass and device; `auto` measures a step.
        world: this process among its peers.
        evaluate: metrics of held-out pairs, or None without any.
        save: writes the model as it is now; called on every rank, at the end or at the best evaluation.
        run_dir: where the logs go; None on every rank but the main one.
        output: the run directory's path, for callbacks.
        callbacks: transformers' callbacks.
    """

    def __init__(
        self,
        *,
        scorer: PairScorer,
        tokenizer: PreTrainedTokenizerBase,
        objective: Objective,
        batches: Batches,
        settings: TrainingSection,
        max_tokens: int | Literal["auto"],
        world: World,
        evaluate: Evaluate | None,
        save: Callable[[], None],
        run_dir: RunDirectory | None,
        output: str,
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        self._settings = settings
        self._world = world
        self._evaluate_pairs = evaluate
        self._save = save
        self._run_dir = run_dir
        self._batches = batches
        self.total_steps = total_steps(settings, batches)

        model = scorer.model
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(model, settings)
        self._schedule: LRScheduler = make_schedule(self._optimizer, settings, self.total_steps)
        dtype = autocast_dtype(settings.precision, world.device)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=dtype == torch.float16)
        loss = PairLoss(scorer, objective)
        root = DistributedDataParallel(loss) if world.size > 1 else loss
        self._gradient_step = GradientStep(root, world, dtype, self._scaler)
        self._callbacks = Callbacks(
            callbacks,
            args=training_arguments(
                settings,
                output=output,
                total_steps=self.total_steps,
                world=world,
                dtype=dtype,
                evaluates=evaluate is not None,
            ),
            model=model,
            tokenizer=tokenizer,
            optimizer=self._optimizer,
            scheduler=self._schedule,
            total_steps=self.total_steps,
            world=world,
        )
        self._model = model
        self._window = Window()
        self.last_train: dict[str, float] = {}
        self.evaluations: list[tuple[int, dict[str, float]]] = []
        self.model_step: int | None = None
        """The step that the saved model is of."""
        self._learning_rate = 0.0
        if max_tokens == "auto":
            step = replace(self._gradient_step, loss=loss)  # not DDP's wrapper: ranks measure for themselves
            self.budget = choose_budget(step, self._batches, self._optimizer)
        else:
            self.budget = TokenBudget(max_tokens, "given", world)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._callbacks.state.global_step

    def run(self) -> None:
        """Train to the end, or until a callback stops it.

        Raises:
            NumericsError: a logged loss or gradient norm is not finite.
            ResourceError: a single pair does not fit into memory; see `TokenBudget.fit`.
        """
        if self._world.device.type == "cpu":
            keep_freed_memory()
        callbacks = self._callbacks
        callbacks.fire("on_train_begin")
        self._evaluate()
        self._model.train()
        self._window = Window()
        epoch = 0
        while not callbacks.control.should_training_stop:
            self._run_epoch(epoch)
            epoch += 1
        callbacks.fire("on_train_end")
        if self._settings.select == "last" or self.model_step is None:
            self._save_model()

    def _run_epoch(self, epoch: int) -> None:
        callbacks = self._callbacks
        callbacks.fire("on_epoch_begin")
        for done, batch in enumerate(self._batches.epoch(epoch), start=1):
            callbacks.fire("on_step_begin")
            self._update(batch)
            callbacks.state.global_step += 1
            callbacks.state.epoch = epoch + done / self._batches.per_epoch
            callbacks.fire("on_step_end")
            self._log_evaluate_save()
            if callbacks.control.should_epoch_stop or callbacks.control.should_training_stop:
                break
        callbacks.fire("on_epoch_end")
        self._log_evaluate_save()

    def _update(self, batch: GlobalBatch) -> None:
        """One optimizer step."""
        callbacks = self._callbacks
        sums = self._backpropagate(batch)
        self._scaler.unscale_(self._optimizer)
        limit = self._settings.max_grad_norm or math.inf
        grad_norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit)
        callbacks.fire("on_pre_optimizer_step")
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        callbacks.fire("on_optimizer_step")
        self._optimizer.zero_grad(set_to_none=True)
        if self._scaler.get_scale() < scale:
            # The scale is sought from above, so float16 gradients overflow now and then; no update was made.
            log.info("step %d: float16 gradients overflowed, update skipped", self.step + 1)
            return
        self._learning_rate = float(self._schedule.get_last_lr()[0])
        self._schedule.step()

        weight = grad_norm.new_tensor(float(len(batch.pairs)))
        self._window.means.add({**sums, "grad_norm": weighted(grad_norm, weight)})
        self._window.pairs += len(batch.pairs)
        self._window.tokens += batch.tokens

    def _backpropagate(self, batch: GlobalBatch) -> dict[str, Tensor]:
        """Accumulate the gradient of a global batch, in micro-batches within the budget."""

        def attempt(max_tokens: int, on_substep_end: Callable[[], None]) -> dict[str, Tensor]:
            self._optimizer.zero_grad(set_to_none=True)  # gradients of a try that failed
            totals, split = batch.totals, self._batches.micro_batches
            if batch.mismatch is not None:
                divergence = self._gradient_step.divergence(
                    split(batch.mismatch.pairs, max_tokens), batch.mismatch
                )
                totals = replace(totals, divergence=divergence)
            return self._gradient_step(split(batch.pairs, max_tokens), totals, on_substep_end)

        return self.budget.fit(
            attempt, lambda: self._callbacks.fire("on_substep_end"), step=self.step + 1, during="training"
        )

    def _log_evaluate_save(self) -> None:
        """What the control's flags ask for; the last step is always logged and evaluated."""
        is_last = self.step >= self.total_steps or self._callbacks.control.should_training_stop
        if (self._callbacks.control.should_log or is_last) and self._window.means:
            self._log()
        evaluated = bool(self.evaluations) and self.evaluations[-1][0] == self.step
        if (self._callbacks.control.should_evaluate or is_last) and not evaluated:
            self._evaluate()
        if self._callbacks.control.should_save:
            self._save_model()
            self._callbacks.fire("on_save")

    def _save_model(self) -> None:
        self._save()
        self.model_step = self.step

    def _log(self) -> None:
        """Write a row of train metrics: means since the last row, each over what it is a metric of."""
        window = self._window
        means = window.means.take(self._world) | {"learning_rate": self._learning_rate}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(means[name]):
                raise NumericsError(
                    f"{name} is not finite ({means[name]}) between the last logged step and step {self.step}",
                    hint="Lower training.learning_rate, or use float32 or bfloat16 instead of float16.",
                )
        seconds = time.perf_counter() - window.started
        timing = {
            "tokens_per_second": window.tokens / seconds,
            "pairs_per_second": window.pairs / seconds,
            "seconds": seconds,
            "peak_memory_bytes": peak_memory_bytes(self._world.device),
        }
        self.last_train = means
        if self._run_dir is not None:
            self._run_dir.append_metrics({"step": self.step, "split": "train", **means})
            self._run_dir.append_timing({"step": self.step, **timing})
        self._callbacks.log(means | timing)
        self._window = Window()

    def _evaluate(self) -> None:
        """Score the held-out pairs, if there are any, outside the clock of the log's window."""
        if self._evaluate_pairs is None:
            return
        started = time.perf_counter()
        self._model.eval()
        metrics = self._evaluate_pairs(lambda: self._callbacks.fire("on_prediction_step"))
        self._model.train()
        losses = [row["loss"] for step, row in self.evaluations if step > 0]
        self.evaluations.append((self.step, metrics))
        if self._run_dir is not None:
            self._run_dir.append_metrics({"step": self.step, "split": "eval", **metrics})
        self._callbacks.evaluated({f"eval_{name}": value for name, value in metrics.items()})
        if (
            self._settings.select == "best"
            and self.step > 0
            and metrics["loss"] < min(losses, default=math.inf)
        ):
            self._save_model()
        self._window.started += time.perf_counter() - started
