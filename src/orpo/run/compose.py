"""One training run, top to bottom."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from orpo.batch import Layout
from orpo.config import (
    LoadedConfig,
    ObjectiveSection,
    RunConfig,
    SourceSection,
    dump_config,
    load_config,
    parse_config,
)
from orpo.data.spec import IN_MEMORY
from orpo.errors import ConfigError, ResourceError
from orpo.evaluation.pairs import evaluate_pairs
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.compilation import compile_layers
from orpo.modeling.engine import build_scorer
from orpo.modeling.load import LoadedModel, load_model, padding_id
from orpo.modeling.lora import add_lora
from orpo.modeling.save import save_model
from orpo.objectives import OBJECTIVES, Objective
from orpo.ops.distributed import World, join_world
from orpo.ops.memory import is_out_of_memory, out_of_memory_message
from orpo.ops.precision import autocast_dtype
from orpo.report.card import model_card
from orpo.run.data import Rows, cache_folder, prepare_data
from orpo.run.record import announce, definition_record, engine_record, summary_record
from orpo.run.reference import Reference, Referenced, with_reference
from orpo.rundir import RunDirectory, Status, require_free, writing
from orpo.training.batches import Batches
from orpo.training.budget import scoring_budget
from orpo.training.callbacks import tracker_callbacks
from orpo.training.loop import TrainingLoop, total_steps
from orpo.training.progress import ProgressCallback

log = logging.getLogger(__name__)

_PLACE = {"path", "config", "data_dir", "split", "revision"}
"""The keys of a source that say where it is."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run leaves in memory and on disk."""

    path: Path
    """The run directory."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase

    summary: Mapping[str, Any]
    """What summary.json holds."""


def train(
    config: RunConfig | LoadedConfig | Mapping[str, Any] | str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    train_rows: Rows | None = None,
    eval_rows: Rows | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    console: Console | None = None,
) -> TrainingResult:
    """Train on preference pairs; one process, or one of several started by torchrun.

    Args:
        config: the path of a YAML file, nested mappings with its keys, or either of them loaded.
        overrides: ``key=value`` with dotted keys, applied last; a `LoadedConfig` has had them already.
        train_rows: rows in memory to use instead of ``data.train``.
        eval_rows: rows in memory to use instead of ``data.eval``.
        callbacks: `transformers.TrainerCallback`s beside those of ``training.report_to``.
        console: where to show progress; None shows none.

    Raises:
        OrpoError: anything that the user can act on; see `orpo.errors`.
        KeyboardInterrupt: after the run directory was brought into a readable state.
    """
    if isinstance(config, str | os.PathLike):
        loaded = load_config(config, overrides)
    elif isinstance(config, LoadedConfig):
        assert not overrides, "a LoadedConfig has had its overrides"
        loaded = config
    else:
        loaded = parse_config(config, overrides)
    loaded = _with_rows_in_memory(loaded, train=train_rows is not None, eval_=eval_rows is not None)
    with join_world() as world:
        if not world.is_main:
            logging.getLogger("orpo").setLevel(logging.ERROR)
        try:
            return _train(loaded, world, train_rows, eval_rows, callbacks, console)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ResourceError(
                f"out of memory on {world.device}: {out_of_memory_message(error)}",
                hint="Lower training.max_tokens, which changes memory only, set "
                "training.gradient_checkpointing, or use model.lora.",
            ) from None


def _with_rows_in_memory(loaded: LoadedConfig, *, train: bool, eval_: bool) -> LoadedConfig:
    """The configuration as it is recorded: a source that rows in memory replace is not named.

    What says how to read a single source applies to the rows that replace it.
    """
    data, origins = loaded.config.data, dict(loaded.provenance)
    for use in [use for use, given in (("train", train), ("eval", eval_)) if given]:
        source, replaced = SourceSection(path=IN_MEMORY), set(SourceSection.model_fields)
        named = getattr(data, use)
        if isinstance(named, tuple) and len(named) == 1:
            source, replaced = named[0], _PLACE
        memory = source.model_copy(update=dict.fromkeys(_PLACE) | {"path": IN_MEMORY})
        data = data.model_copy(update={use: (memory,)})
        origins = {key: origin for key, origin in origins.items() if not _is_of(key, use, replaced)}
        origins |= {f"data.{use}.{name}": "train()" for name in replaced}
    return LoadedConfig(loaded.config.model_copy(update={"data": data}), origins)


def _is_of(key: str, use: str, names: set[str]) -> bool:
    """Whether a key is one of `names` of the source of a use, or of a list of them, or in place of it."""
    section, _, rest = key.removeprefix("data.").partition(".")
    name = rest.partition(".")[0]
    return key.startswith("data.") and section == use and (name in names or not rest or name.isdigit())


def _train(
    loaded: LoadedConfig,
    world: World,
    train_rows: Rows | None,
    eval_rows: Rows | None,
    callbacks: Sequence[TrainerCallback],
    console: Console | None,
) -> TrainingResult:
    started = time.perf_counter()
    config, settings = loaded.config, loaded.config.training
    if world.is_main:
        require_free(config.output)
    world.wait()
    if settings.select == "best" and config.data.eval is None:
        raise ConfigError(
            "training.select: best needs evaluations, and data.eval is not set",
            hint="Set data.eval to a source or a fraction.",
        )
    trackers = tracker_callbacks(settings.report_to)
    dtype = autocast_dtype(settings.precision, world.device)

    set_seed(settings.seed)
    log.info("loading %s", config.model.name)
    source = load_model(
        config.model.name,
        revision=config.model.revision,
        dtype=config.model.dtype,
        random_init=config.model.random_init,
    )
    objective = build_objective(config.objective)
    data = prepare_data(config.data, objective, source, settings.seed, train_rows, eval_rows, console)
    model = _prepare_model(config, source).to(world.device)  # type: ignore[arg-type]
    pad_id = padding_id(source.tokenizer)
    scorer = build_scorer(
        model,
        layout="auto" if settings.layout == "auto" else Layout(settings.layout),
        max_length=data.max_length,
    )
    if settings.compile:
        compile_layers(source.model)
    announce(config, scorer, data, dtype)
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
            budget=scoring_budget(settings.max_tokens, world),
            world=world,
            dtype=dtype,
            folder=cache_folder(config.data.cache).with_name("reference"),
        )
        referenced = with_reference(batches, data.eval, objective, reference, total_steps(settings, batches))

    run_dir = RunDirectory(Path(config.output).expanduser()) if world.is_main else None

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

    def save() -> None:
        if run_dir is not None:
            with writing(run_dir.model):
                save_model(
                    model,
                    source.tokenizer,
                    run_dir.model,
                    merge=config.model.lora is not None and config.model.lora.merge,
                    stop_ids=data.train.stop_ids,
                    card=model_card(definition, loop.evaluations),
                )
        world.wait()

    progress = ProgressCallback(console) if console is not None else None
    loop = TrainingLoop(
        scorer=scorer,
        tokenizer=source.tokenizer,
        objective=objective,
        batches=referenced.batches,
        settings=settings,
        max_tokens=settings.max_tokens,
        world=world,
        evaluate=evaluate if referenced.eval is not None else None,
        save=save,
        run_dir=run_dir,
        output=config.output,
        callbacks=[*trackers, *callbacks, *([progress] if progress else [])],
    )
    definition = definition_record(config, objective, source, data, scorer) | {
        "engine": engine_record(settings, scorer, world, dtype, loop.budget)
    }
    if run_dir is not None:
        # Only now: the loop may refuse its settings, and a failed start leaves nothing behind.
        RunDirectory.create(run_dir.path)
        run_dir.write_config(dump_config(loaded))
        run_dir.write_definition(definition)
    status: Status = "failed"
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
        summary = summary_record(status, loop, data, time.perf_counter() - started)
        if run_dir is not None:
            run_dir.write_summary(summary)
        if status == "interrupted":
            log.warning(
                "stopped after step %d of %d; run directory: %s", loop.step, loop.total_steps, config.output
            )
    return TrainingResult(Path(config.output).expanduser(), model, source.tokenizer, summary)


def _prepare_model(config: RunConfig, source: LoadedModel) -> PreTrainedModel | PeftModel:
    """The model that is trained: the loaded one, or its adapters."""
    model: PreTrainedModel | PeftModel = source.model
    lora = config.model.lora
    if lora is None and config.model.dtype == config.training.precision == "float16":
        raise ConfigError(
            "training.precision: float16 needs weights of a wider type, and model.dtype is float16",
            hint="Use model.dtype=float32.",
        )
    if lora is not None:
        model = add_lora(source.model, r=lora.r, alpha=lora.alpha, dropout=lora.dropout, target=lora.target)
    elif config.model.dtype != "float32":
        log.warning(
            "model.dtype is %s: updates smaller than its resolution are lost; float32 with "
            "training.precision=bfloat16 keeps them",
            config.model.dtype,
        )
    if mode := config.training.gradient_checkpointing:
        checkpoint_activations(source.model, selective=mode == "selective")
    return model


def build_objective(config: ObjectiveSection) -> Objective:
    """The objective that `config` describes."""
    coefficients = config.model_dump(exclude={"name"})
    return OBJECTIVES[config.name](**coefficients)
