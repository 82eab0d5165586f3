"""One training run, top to bottom."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, set_seed

from orpo.batch import Layout
from orpo.config import (
    LoadedConfig,
    RunConfig,
    TrainingSection,
    dump_config,
    load_config,
    parse_config,
)
from orpo.errors import ResourceError
from orpo.evaluation.pairs import evaluate_pairs
from orpo.interruption import listening, postponed
from orpo.modeling.compilation import compile_layers
from orpo.modeling.engine import build_scorer
from orpo.modeling.load import load_model
from orpo.modeling.padding import padding_id, require_padding
from orpo.modeling.save import save_model
from orpo.ops.distributed import World, join_world
from orpo.ops.memory import is_out_of_memory, out_of_memory_message
from orpo.ops.precision import autocast_dtype
from orpo.report.card import model_card
from orpo.run.assessment import Assessor
from orpo.run.data import prepare_data
from orpo.run.model import (
    advise_on_learning_rate,
    build_objective,
    kind_of_model,
    prepare_model,
    refuse_contradictions,
    share_out,
)
from orpo.run.record import announce, definition_record, engine_record, summary_record
from orpo.run.reference import Reference, Referenced, with_reference
from orpo.run.result import Model, TrainingResult, complete_result, load_trained
from orpo.run.resume import Start, find_start, flat, read_checkpoint, settings_record
from orpo.run.rows_in_memory import with_rows_in_memory
from orpo.run.sources import Rows, cache_folder
from orpo.rundir import RunDirectory, Status, locked, writing
from orpo.rundir.command import command_line
from orpo.training.batches import Batches
from orpo.training.budget import scoring_budget
from orpo.training.callbacks import tracker_callbacks
from orpo.training.checkpoint.contents import Contents
from orpo.training.checkpoint.writer import CheckpointWriter, require_room
from orpo.training.loop import TrainingLoop, checkpoint_interval, total_steps
from orpo.training.optim import state_bytes
from orpo.training.progress import ProgressCallback

log = logging.getLogger(__name__)

_MADE_OF = ("objective", "model", "template", "data")
"""Keys of a run's definition that decide what it learns."""


def train(
    config: RunConfig | LoadedConfig | Mapping[str, Any] | str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    train_rows: Rows | None = None,
    eval_rows: Rows | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    console: Console | None = None,
    resume: str | os.PathLike[str] | None = None,
    how_to_resume: str = 'train(..., resume="auto")',
) -> TrainingResult:
    """Train on preference pairs; one process, or one of several started by torchrun.

    Args:
        config: the path of a YAML file, nested mappings with its keys, or either of them loaded.
        overrides: ``key=value`` with dotted keys, applied last; a `LoadedConfig` has had them already.
        train_rows: rows in memory to use instead of ``data.train``.
        eval_rows: rows in memory to use instead of ``data.eval``.
        callbacks: `transformers.TrainerCallback`s beside those of ``training.report_to``.
        console: where to show progress; None shows none.
        resume: go on with the run that ``output`` holds, as far as there is one: from its newest sound
            checkpoint with `auto`, or from the one at a path.
        how_to_resume: what the user does for that, for messages.

    Raises:
        OrpoError: anything that the user can act on; see `orpo.errors`.
        Interrupted: Ctrl-C, SIGTERM or SIGUSR1; what was done is saved, and `resume` goes on from there.
    """
    if isinstance(config, str | os.PathLike):
        loaded = load_config(config, overrides)
    elif isinstance(config, LoadedConfig):
        assert not overrides, "a LoadedConfig has had its overrides"
        loaded = config
    else:
        loaded = parse_config(config, overrides)
    loaded = with_rows_in_memory(loaded, train=train_rows is not None, eval_=eval_rows is not None)
    needs_group = loaded.config.training.parallel == "fsdp"
    with listening(), join_world(needs_group=needs_group) as world:
        if not world.is_main:
            logging.getLogger("orpo").setLevel(logging.ERROR)
        try:
            with locked(Path(loaded.config.output).expanduser()) if world.is_main else nullcontext():
                start = find_start(loaded.config, resume, how_to_resume, world)
                if start.is_complete:
                    return complete_result(loaded.config)
                with ExitStack() as opened:
                    return _train(loaded, world, start, opened, train_rows, eval_rows, callbacks, console)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ResourceError(
                f"out of memory on {world.device}: {out_of_memory_message(error)}",
                hint="Lower training.max_tokens, which changes memory only, set "
                "training.gradient_checkpointing, or use model.lora.",
            ) from None


def _train(
    loaded: LoadedConfig,
    world: World,
    start: Start,
    opened: ExitStack,
    train_rows: Rows | None,
    eval_rows: Rows | None,
    callbacks: Sequence[TrainerCallback],
    console: Console | None,
) -> TrainingResult:
    started = time.perf_counter()
    config, settings = loaded.config, loaded.config.training
    refuse_contradictions(config)
    trackers = tracker_callbacks(settings.report_to)
    dtype = autocast_dtype(settings.precision, world.device)

    set_seed(settings.seed)
    objective = build_objective(config.objective)
    kind = kind_of_model(objective)
    log.info("loading %s", config.model.name)
    source = load_model(
        config.model.name,
        revision=config.model.revision,
        dtype=config.model.dtype,
        random_init=config.model.random_init,
        quantization=config.model.quantization,
        products=dtype,
        kind=kind,
    )
    data = prepare_data(config.data, objective, source, settings.seed, train_rows, eval_rows, console)
    if kind.is_reward:
        require_padding(source.model, source.tokenizer, data.train.stop_ids)
    model = prepare_model(config, source, kind)
    is_shared_out = settings.parallel == "fsdp"
    if not is_shared_out:
        model = model.to(world.device)  # type: ignore[arg-type]
    pad_id = padding_id(source.tokenizer)
    scorer = build_scorer(
        model,
        layout="auto" if settings.layout == "auto" else Layout(settings.layout),
        max_length=data.max_length,
        kind=kind,
        router_loss=settings.router_loss,
        products=dtype,
    )
    gather = share_out(scorer, settings, world, dtype) if is_shared_out else None
    if settings.compile:
        compile_layers(source.model)
    announce(config, scorer, data, dtype)
    advise_on_learning_rate(loaded)
    batches = Batches.of(
        data.train,
        settings,
        objective,
        layout=scorer.layout,
        pad_id=pad_id,
        max_length=data.max_length,
        world=world,
    )
    referenced = Referenced(batches, data.eval)
    if objective.needs_reference:
        reference = Reference(
            scorer=scorer,
            pad_id=pad_id,
            budget=scoring_budget(settings.max_tokens, world, is_fixed=is_shared_out),
            world=world,
            dtype=dtype,
            folder=cache_folder(config.data.cache) / "reference",
        )
        referenced = with_reference(batches, data.eval, objective, reference, total_steps(settings, batches))

    output = RunDirectory(Path(config.output).expanduser())
    run_dir = output if world.is_main else None
    definition = definition_record(config, objective, source, data, scorer)
    engine = engine_record(settings, scorer, world, dtype)
    facts = {
        "config": settings_record(config),
        "definition": flat({name: definition[name] for name in _MADE_OF}),
        "engine": flat({**engine, "max_tokens": settings.max_tokens, "versions": definition["versions"]}),
    }

    def evaluate(on_forward: Callable[[], None]) -> dict[str, float]:
        def attempt(max_tokens: int, on_forward: Callable[[], None]) -> dict[str, float]:
            assert referenced.eval is not None
            return evaluate_pairs(
                scorer,
                objective,
                referenced.eval,
                pad_id=pad_id,
                max_tokens=max_tokens,
                world=world,
                dtype=dtype,
                mismatch=referenced.eval_mismatch,
                on_forward=on_forward,
            )

        return loop.budget.fit(attempt, on_forward, step=loop.step, during="evaluation")

    assessor = (
        Assessor(scorer, data.eval, pad_id, world, dtype)
        if kind.is_reward and data.eval is not None
        else None
    )
    assessment: dict[str, Any] | None = None

    def save() -> None:
        nonlocal assessment
        assessment = assessor(loop.budget, loop.step) if assessor is not None else None
        whole = gather() if gather is not None else model
        if run_dir is not None and whole is not None:
            with writing(run_dir.model):
                save_model(
                    whole,
                    source.tokenizer,
                    run_dir.model,
                    merge=config.model.lora is not None and config.model.lora.merge,
                    stop_ids=data.train.stop_ids,
                    card=model_card(definition, loop.course.evaluations, assessment),
                )
        world.wait()

    budget, saved = settings.max_tokens, None
    if start.checkpoint is not None:
        saved = opened.enter_context(read_checkpoint(start.checkpoint, output, facts, world))
        if start.checkpoint.facts["engine"] == facts["engine"]:
            # What was chosen, or was left when memory ran out: another split rounds differently.
            budget = saved.state["budget"][-1]["tokens"]
    if checkpoint_interval(settings, total_steps(settings, batches)) is not None:
        _require_room(output.checkpoints.path, model, settings)
    progress = ProgressCallback(console) if console is not None else None
    loop = TrainingLoop(
        scorer=scorer,
        tokenizer=source.tokenizer,
        objective=objective,
        batches=referenced.batches,
        settings=settings,
        max_tokens=budget,
        world=world,
        evaluate=evaluate if referenced.eval is not None else None,
        save=save,
        run_dir=run_dir,
        checkpoints=CheckpointWriter(output.checkpoints, world, settings.keep_checkpoints, facts),
        output=config.output,
        callbacks=[*trackers, *callbacks, *([progress] if progress else [])],
    )
    definition |= {"engine": {**engine, "max_tokens": loop.budget.tokens}}
    if saved is not None:
        loop.resume(saved)
    if run_dir is not None:
        # Only now: the loop may refuse its settings, and a failed start leaves nothing behind.
        _prepare_directory(run_dir, loaded, definition, start, saved)
    status: Status = "failed"
    with postponed():  # from here on there is something to go on with, and the loop sees when it may end
        try:
            loop.run()
            status = "finished"
            log.info("model written to %s", Path(config.output) / "model")
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            if progress is not None:
                progress.close()
            summary = summary_record(status, loop, data, assessment, time.perf_counter() - started)
            if run_dir is not None:
                run_dir.write_summary(summary)
    if is_shared_out:  # no process has it whole
        return TrainingResult(output.path, summary, lambda: load_trained(output, config))
    return TrainingResult(output.path, summary, lambda: (model, source.tokenizer))


def _prepare_directory(
    run: RunDirectory,
    loaded: LoadedConfig,
    definition: Mapping[str, Any],
    start: Start,
    saved: Contents | None,
) -> None:
    """Write what a run is, and take back what an earlier process wrote after the point where it goes on."""
    commands = [command_line()]
    if start.checkpoint is None or saved is None:
        if run.config.exists():
            run.forget()
        else:
            RunDirectory.create(run.path)
    else:
        commands = [*run.earlier_commands(), *commands]
        run.go_on(saved.state["logs"])
        if later := run.checkpoints.remove_after(start.checkpoint.step):
            log.warning("checkpoints of later steps are removed: %s", ", ".join(map(str, later)))
    run.write_config(dump_config(loaded))
    run.write_definition({**definition, "commands": commands})


def _require_room(folder: Path, model: Model, settings: TrainingSection) -> None:
    """Refuse a run whose first checkpoint would not fit on the disk.

    Raises:
        ResourceError: says what it needs and what there is.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    with writing(folder, left="nothing was begun"):
        require_room(folder, weights + state_bytes(model, settings))
