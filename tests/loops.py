"""A training loop over random pairs, for tests of its parts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, TrainerCallback

from orpo.batch import Layout
from orpo.config.schema import TrainingSection
from orpo.data.holdout import prompt_key
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import ShardBuilder, TokenizedPairs
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO, Objective
from orpo.ops.distributed import World
from orpo.ops.precision import autocast_dtype
from orpo.run.model import kind_of_model
from orpo.rundir import RunDirectory
from orpo.training.batches import Batches
from orpo.training.checkpoint.contents import read_contents
from orpo.training.checkpoint.writer import CheckpointWriter
from orpo.training.loop import TrainingLoop
from orpo.training.sharding import shard
from tests.tiny import byte_tokenizer, tiny_llama, tiny_reward_model

OBJECTIVE = ORPO(0.5)

ALONE = World(0, 1, torch.device("cpu"))


def random_pairs(count: int, *, mixed: bool = False) -> TokenizedPairs:
    """Pairs of very uneven lengths, over the tiny model's vocabulary.

    Args:
        count: how many.
        mixed: some of them are single responses, and their weights and margins differ.
    """
    rng = random.Random(11)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 64) for _ in range(rng.randint(low, high)))

    pairs: list[TokenizedPair] = []
    for i in range(count):
        long = 40 if i % 5 == 0 else 8
        prompt, chosen, rejected = ids(1, long), ids(1, long), ids(1, long)
        pair = TokenizedPair(prompt, chosen, rejected, f"row {i}", answers=((len(prompt) // 2, len(prompt)),))
        if mixed:
            pair = replace(
                pair,
                rejected=() if i % 3 == 0 else rejected,
                weight=(1.0, 0.5, 2.0, 1.25)[i % 4],
                margin=(0.0, 0.5, 2.0)[i % 3],
            )
        pairs.append(pair)
    return tokenized(pairs)


def tokenized(pairs: Iterable[TokenizedPair]) -> TokenizedPairs:
    """`pairs` as they come from a source."""
    builder = ShardBuilder()
    for pair in pairs:
        builder.add(pair, 2, prompt_key(str(pair.prompt)))
    return TokenizedPairs.of([builder.build()], sorted(builder.stop_ids))


def make_loop(
    *,
    model: PreTrainedModel | PeftModel | None = None,
    pairs: TokenizedPairs | None = None,
    objective: Objective = OBJECTIVE,
    max_tokens: int | Literal["auto"] = 10**6,
    layout: Layout | Literal["auto"] = "auto",
    world: World = ALONE,
    evaluate: Callable[[Callable[[], None]], dict[str, float]] | None = None,
    save: Callable[[], None] = lambda: None,
    run_dir: Path | None = None,
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    **settings: Any,
) -> TrainingLoop:
    """A loop that is ready to run; `settings` are keys of the training section.

    A reference that the objective needs is made up.  Logs and checkpoints are in `run_dir`, if there is one;
    with `resume` the loop goes on from the newest of these.
    """
    rng = np.random.default_rng(3)
    pairs = pairs or random_pairs(20)
    if objective.needs_reference and pairs.references is None:
        pairs = pairs.with_references(rng.uniform(-40, -5, (len(pairs), 2)).astype(np.float32))
    scorer = build_scorer(
        model or (tiny_reward_model() if objective.needs_values else tiny_llama(initializer_range=0.2)),
        layout=layout,
        max_length=128,
        kind=kind_of_model(objective),
    )
    section = TrainingSection(**({"batch_size": 8, "learning_rate": 1e-3} | settings))
    if section.parallel == "fsdp":
        shard(scorer, world, dtype=autocast_dtype(section.precision, world.device), cpu_offload=False)
    batches = Batches.of(
        pairs, section, objective, layout=scorer.layout, pad_id=0, max_length=128, world=world
    )
    if objective.needs_divergence:
        batches = replace(batches, mismatched_references=defaultdict(lambda: -800.0))
    run = None
    if run_dir is not None:
        run = RunDirectory(run_dir) if resume or not world.is_main else RunDirectory.create(run_dir)
    loop = TrainingLoop(
        scorer=scorer,
        tokenizer=byte_tokenizer(),
        objective=objective,
        batches=batches,
        settings=section,
        max_tokens=max_tokens,
        world=world,
        evaluate=evaluate,
        save=save,
        run_dir=run if world.is_main else None,
        checkpoints=CheckpointWriter(run.checkpoints, world, section.keep_checkpoints, {}) if run else None,
        output=str(run_dir or "unused"),
        callbacks=callbacks,
    )
    if resume:
        assert run is not None
        newest = run.checkpoints.newest()
        assert newest is not None
        with read_contents(newest.path, world, newest.facts["processes"]) as saved:
            loop.resume(saved)
            run.go_on(saved.state["logs"])
    return loop
