"""The training loop: global batches in, an aligned model and a run directory's logs out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedTokenizerBase, TrainerCallback

from orpo.allocator import keep_freed_memory
from orpo.batch import Rows, Totals
from orpo.config.schema import TrainingSection
from orpo.errors import Interrupted
from orpo.interruption import describe, requested
from orpo.modeling.scorer import PairScorer
from orpo.objectives import Objective
from orpo.ops.distributed import World
from orpo.ops.precision import autocast_dtype
from orpo.ops.sharded import whole
from orpo.rundir import RunDirectory
from orpo.training.batches import Batches, GlobalBatch
from orpo.training.budget import TokenBudget, choose_budget
from orpo.training.callbacks import Callbacks, training_arguments
from orpo.training.checkpoint.contents import Contents
from orpo.training.checkpoint.writer import CheckpointWriter
from orpo.training.course import Course
from orpo.training.failure import examine
from orpo.training.guard import FiniteGuard
from orpo.training.health import Health
from orpo.training.logs import Logs
from orpo.training.loss import PairLoss
from orpo.training.optim import make_optimizer, make_schedule
from orpo.training.sharding import is_sharded, trains_few
from orpo.training.state import RunState
from orpo.training.step import GradientStep

log = logging.getLogger(__name__)

Evaluate = Callable[[Callable[[], None]], dict[str, float]]
"""Metrics of the held-out pairs; calls its argument after each forward pass."""


def total_steps(settings: TrainingSection, batches: Batches) -> int:
    """Optimizer steps of a run."""
    return settings.max_steps or math.ceil(settings.epochs * batches.per_epoch)


def checkpoint_interval(settings: TrainingSection, steps: int) -> int | None:
    """Steps between checkpoints in a run of `steps`, or None for none but those that are asked for."""
    return math.ceil(steps / 10) if settings.checkpoint_every == "auto" else settings.checkpoint_every


class TrainingLoop:
    """Runs optimizer steps over a seeded order of pairs.

    Args:
        scorer: of the model that is trained, on the right device.  With several processes it is wrapped in
            DDP, unless `shard` has shared its weights out.
        tokenizer: handed to callbacks.
        objective: the loss.
        batches: the training pairs.
        settings: the optimisation.
        max_tokens: tokens, padding included, per forward pass and device; `auto` measures a step.
        world: this process among its peers.
        evaluate: metrics of held-out pairs, or None without any.
        save: writes the model as it is now; called on every rank, at the end or at the best evaluation.
        run_dir: where the logs go; None on every rank but the main one.
        checkpoints: saves what the run can go on from; None saves nothing.
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
        evaluate: Evaluate | None = None,
        save: Callable[[], None] = lambda: None,
        run_dir: RunDirectory | None = None,
        checkpoints: CheckpointWriter | None = None,
        output: str = "not written",
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self._settings = settings
        self._world = world
        self._evaluate_pairs = evaluate
        self._save = save
        self._run_dir = run_dir
        self._checkpoints = checkpoints
        self._batches = batches
        self.total_steps = total_steps(settings, batches)

        model = scorer.model
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._optimizer = make_optimizer(model, settings)
        self._schedule: LRScheduler = make_schedule(self._optimizer, settings, self.total_steps)
        dtype = autocast_dtype(settings.precision, world.device)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=dtype == torch.float16)
        loss = PairLoss(scorer, objective)
        shards = is_sharded(scorer)
        root = DistributedDataParallel(loss) if world.size > 1 and not shards else loss
        exchanges_once = not shards or trains_few(scorer)
        self._gradient_step = GradientStep(root, world, dtype, self._scaler, exchanges_once)
        self._guard = FiniteGuard(world, self._scaler)
        self.health = Health(self.total_steps, compares=objective.rows is not Rows.CHOSEN)
        self.course = Course()
        self._callbacks = Callbacks(
            callbacks,
            args=training_arguments(
                settings,
                output=output,
                total_steps=self.total_steps,
                checkpoint_every=checkpoint_interval(settings, self.total_steps) if checkpoints else None,
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
        self._logs = Logs(run_dir, self._callbacks, self.health, self.course, world)
        self._resumed: Contents | None = None
        if max_tokens == "auto":
            step = replace(self._gradient_step, loss=loss)  # not DDP's wrapper: ranks measure for themselves
            self.budget = choose_budget(step, self._batches, self._optimizer)
        else:
            self.budget = TokenBudget(max_tokens, "given", world, is_fixed=shards)
        self._state = RunState(
            parameters=self._parameters,
            optimizer=self._optimizer,
            schedule=self._schedule,
            scaler=self._scaler,
            budget=self.budget,
            health=self.health,
            callbacks=self._callbacks,
            logs=self._logs,
            course=self.course,
            device=world.device,
        )

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._callbacks.state.global_step

    def run(self) -> None:
        """Train to the end, or until a callback stops it.

        Raises:
            NumericsError: loss or gradient are not finite in more steps than may be left out.
            ResourceError: a single pair does not fit into memory; see `TokenBudget.fit`.
            Interrupted: a process was asked to end; what is done is saved, see `checkpoint`.
        """
        try:
            self._run()
        except Interrupted:
            if self.step:
                self.checkpoint()
            raise

    def _run(self) -> None:
        if self._world.device.type == "cpu":
            keep_freed_memory()
        callbacks = self._callbacks
        callbacks.fire("on_train_begin")
        if self._resumed is None:
            self._evaluate()
            self._logs.begin()
        else:
            self._go_on(self._resumed)
        self._model.train()
        while self.course.batch or not callbacks.control.should_training_stop:
            self._run_epoch()
        callbacks.fire("on_train_end")
        if self._settings.select == "last" or self.course.model_step is None:
            self._save_model()

    def _run_epoch(self) -> None:
        """The epoch, or what is left of it."""
        callbacks, course = self._callbacks, self.course
        if not course.batch:
            callbacks.fire("on_epoch_begin")
        batches = self._batches.epoch(course.epoch, start=course.batch)
        while not self._epoch_stops and (batch := next(batches, None)) is not None:
            callbacks.fire("on_step_begin")
            self._update(batch)
            course.batch += 1
            callbacks.state.global_step += 1
            callbacks.state.epoch = course.epoch + course.batch / self._batches.per_epoch
            callbacks.fire("on_step_end")
            self._log_evaluate_save()
            if not callbacks.control.should_training_stop:
                self._stop_if_asked()
        course.epoch, course.batch = course.epoch + 1, 0
        callbacks.fire("on_epoch_end")
        self._log_evaluate_save()

    def _stop_if_asked(self) -> None:
        """Stop here, on all ranks, if a signal has asked any of them; between two steps or forward passes.

        Raises:
            Interrupted: says who was asked.
        """
        ranks, own = self._world.size, requested()
        asked, rank = divmod(self._world.agree(own * ranks + self._world.rank if own else 0), ranks)
        if asked:
            sender = describe(asked, rank=rank, ranks=ranks)
            raise Interrupted(f"{sender}, after step {self.step} of {self.total_steps}", resumable=True)

    def _after_forward(self) -> None:
        """What happens between the forward passes of an evaluation."""
        self._callbacks.fire("on_prediction_step")
        self._stop_if_asked()

    @property
    def _epoch_stops(self) -> bool:
        control = self._callbacks.control
        return control.should_epoch_stop or control.should_training_stop

    def _update(self, batch: GlobalBatch) -> None:
        """One optimizer step."""
        callbacks = self._callbacks
        sums = self._backpropagate(batch)
        self._scaler.unscale_(self._optimizer)
        limit = self._settings.max_grad_norm or math.inf
        clipped = torch.nn.utils.clip_grad_norm_(self._parameters.values(), limit)
        grad_norm = whole(clipped).to(self._world.device)  # from the host, where gradients are offloaded
        callbacks.fire("on_pre_optimizer_step")
        self._heed_verdict()  # on the step before, whose numbers have come while this one's work was queued
        left_out, sums = self._guard.judge(self.step + 1, batch, sums, grad_norm)
        # The optimizer works on the host where weights are offloaded, and would not wait for its own copy.
        home = next(iter(self._parameters.values())).device
        self._optimizer.found_inf = left_out.to(home)  # type: ignore[attr-defined]  read by all of ours
        self._optimizer.step()
        self._scaler.update()
        callbacks.fire("on_optimizer_step")
        self._optimizer.zero_grad(set_to_none=True)
        self.course.learning_rate = float(self._schedule.get_last_lr()[0])
        self._schedule.step()
        self._logs.saw(batch, sums)

    def _heed_verdict(self) -> None:
        """End the run, or count the step, if the last one was left out because it was not finite.

        Raises:
            NumericsError: more steps were left out than may be.
        """
        fault = self._guard.verdict()
        if fault is None:
            return
        step = fault.judged.step
        if fault.is_overflow:
            log.info("step %d: float16 gradients overflowed, update skipped", step)
            return
        skipped = self.course.skipped_steps
        skipped.append(step)
        allowed = self._settings.max_skipped_steps
        if len(skipped) <= allowed:
            log.warning(
                "step %d: loss or gradient is not finite; no update was made (%d of at most %d such steps)",
                step,
                len(skipped),
                allowed,
            )
            return
        failure = examine(
            fault.judged,
            replace(self._gradient_step, loss=self._gradient_step.plain),
            self._batches,
            self._totals(fault.judged.batch, self.budget.tokens),
        )
        file, checkpoint = None, None
        if self._run_dir is not None:
            file = str(self._run_dir.write_failure(failure.record()))
            checkpoint = next(
                (str(self._run_dir.checkpoints.at(s)) for s in self._run_dir.checkpoints.steps()), None
            )
        raise failure.error(file=file, checkpoint=checkpoint)

    def _totals(self, batch: GlobalBatch, max_tokens: int) -> Totals:
        """What a batch's loss is divided by, with the estimate of the divergence that it may need."""
        if batch.mismatch is None:
            return batch.totals
        mismatched = self._batches.micro_batches(batch.mismatch.pairs, max_tokens)
        return replace(batch.totals, divergence=self._gradient_step.divergence(mismatched, batch.mismatch))

    def _backpropagate(self, batch: GlobalBatch) -> dict[str, Tensor]:
        """Accumulate the gradient of a global batch, in micro-batches within the budget."""

        def attempt(max_tokens: int, on_substep_end: Callable[[], None]) -> dict[str, Tensor]:
            self._optimizer.zero_grad(set_to_none=True)  # gradients of a try that failed
            totals = self._totals(batch, max_tokens)
            micro_batches = self._batches.micro_batches(batch.pairs, max_tokens)
            return self._gradient_step(micro_batches, totals, on_substep_end)

        return self.budget.fit(
            attempt, lambda: self._callbacks.fire("on_substep_end"), step=self.step + 1, during="training"
        )

    def _log_evaluate_save(self) -> None:
        """What the control's flags ask for; the last step is always logged and evaluated."""
        control = self._callbacks.control
        is_last = self.step >= self.total_steps or control.should_training_stop
        if is_last or control.should_log or control.should_evaluate or control.should_save:
            self._heed_verdict()
        if self._callbacks.control.should_log or is_last:
            self._logs.train_row(self.step)
        evaluations = self.course.evaluations
        evaluated = bool(evaluations) and evaluations[-1][0] == self.step
        is_best = False
        if (self._callbacks.control.should_evaluate or is_last) and not evaluated:
            is_best = self._evaluate()
        if is_best:
            self.course.model_step = self.step
        if is_best or self._callbacks.control.should_save:
            # Before the model, so that a run never goes on from before the step that `model/` is of.
            self.checkpoint()
        if is_best:
            self._save_model()
        if self._callbacks.control.should_save:
            self._callbacks.fire("on_save")

    def _save_model(self) -> None:
        self._save()
        self.course.model_step = self.step

    def checkpoint(self) -> None:
        """Save all that it takes to go on exactly from the current step; on every rank, between two steps.

        Nothing happens if that is saved already.  Without room for it, a warning says so.

        Raises:
            ResourceError: the system refused to write, again and again, for another reason.
        """
        if self._checkpoints is None or self.course.saved_step == self.step:
            return
        self._heed_verdict()
        best = self.course.model_step if self._settings.select == "best" else None
        if self._checkpoints.save(self.step, self._state.contents, best=best):
            self.course.saved_step = self.step

    def resume(self, saved: Contents) -> None:
        """Take over what `checkpoint` has saved; `run` then goes on from there."""
        self._resumed = self._state.load(saved)

    def _go_on(self, saved: Contents) -> None:
        """What is taken over last, because the beginning of training changes it."""
        self._state.load_rest(saved)
        self._log_evaluate_save()  # a run that was asked to end may not have come to all of it
        if self._settings.select == "best" and self.course.model_step == self.step:
            self._save_model()  # the run may have stopped before it was written

    def _evaluate(self) -> bool:
        """Score the held-out pairs, if there are any.

        Returns:
            Whether the model is to be kept, as the best so far.
        """
        if self._evaluate_pairs is None:
            return False
        started = time.perf_counter()
        self._model.eval()
        metrics = self._evaluate_pairs(self._after_forward)
        self._model.train()
        losses = [row["loss"] for step, row in self.course.evaluations if step > 0]
        self._logs.eval_row(self.step, metrics, started)
        is_lowest = self.step > 0 and metrics["loss"] < min(losses, default=math.inf)
        return is_lowest and self._settings.select == "best"
