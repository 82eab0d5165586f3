"""The update does not depend on how many processes make it, nor on whether they share the weights out.

`benchmarks/invariance.py` shows the same of longer runs on up to four processes.  "The same" is that of
`test_splits_are_invisible`: per tensor, the difference of the changes is at most 1e-3 of the change.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.lora import add_lora
from orpo.objectives import DPO, KTO, ORPO, Objective, RewardModel
from orpo.ops.distributed import World, join_world
from orpo.ops.sharded import whole
from orpo.rundir import RunDirectory
from orpo.training.failure import examine
from orpo.training.guard import Judged
from tests.loops import ALONE, make_loop, random_pairs
from tests.processes import run_module
from tests.properties.test_splits_are_invisible import assert_same
from tests.tiny import score_as_if_large, tiny_llama, tiny_reward_model

STEPS = 5

SETTINGS: dict[str, Any] = {
    "pairs": random_pairs(58, mixed=True),
    "batch_size": 13,  # odd, and the last batch of the epoch has 6
    "max_tokens": 60,
    "max_steps": STEPS,
    "weight_decay": 0.1,
    # Adam and clipping forgive a gradient that is wrong by a factor; like this they do not.
    "adam_epsilon": 0.1,
    "max_grad_norm": None,
    "shuffle": False,
}


def full() -> Any:
    return tiny_llama(initializer_range=0.2)


def adapters() -> Any:
    return add_lora(full(), r=3, alpha=6, dropout=0.0, target="all-linear")


def drawn_otherwise() -> Any:
    """Adapters that the second process draws otherwise than the first."""
    model = adapters()
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.data *= 1 + int(os.environ.get("RANK", "0"))
    return model


def dora() -> Any:
    return add_lora(full(), r=3, alpha=6, dropout=0.0, target=["q_proj", "down_proj"], dora=True)


def tied() -> Any:
    model = full()
    model.lm_head.weight = model.model.embed_tokens.weight
    model.config.tie_word_embeddings = True
    return model


def checkpointed() -> Any:
    model = full()
    checkpoint_activations(model)
    return model


CASES: dict[str, tuple[Callable[[], Any], Objective, dict[str, Any]]] = {
    "full": (full, ORPO(0.5), {}),
    "adapters": (adapters, ORPO(0.5), {"learning_rate": 0.01}),
    "adapters, drawn otherwise": (drawn_otherwise, ORPO(0.5), {"learning_rate": 0.01}),
    "DoRA": (dora, ORPO(0.5), {"learning_rate": 0.01}),
    "tied embeddings": (tied, ORPO(0.5), {}),
    "layers checkpointed": (checkpointed, ORPO(0.5), {}),
    "clipped": (full, ORPO(0.5), {"max_grad_norm": 0.05}),
    "one micro-batch": (full, ORPO(0.5), {"max_tokens": 10**6}),
    "a measured budget": (full, ORPO(0.5), {"max_tokens": "auto"}),
    "a divergence over the batch": (full, KTO(), {}),
    "a reference": (adapters, DPO(), {"learning_rate": 0.01}),
    "a reward model": (tiny_reward_model, RewardModel(), {}),
}

WAYS = ("ddp", "fsdp")

DONE = [("full", "ddp"), ("adapters", "ddp"), *((case, "fsdp") for case in CASES)]
"""The others of DDP are in `test_splits_are_invisible`."""


def train(case: str, world: World, **settings: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The change of each trained weight, and its type."""
    make, objective, own = CASES[case]
    model = make()
    loop = make_loop(model=model, objective=objective, world=world, **{**SETTINGS, **own, **settings})
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: whole(p.detach()).clone() for name, p in trained.items()}
    loop.run()
    kinds = [type(p.data).__name__ for p in model.parameters()]
    return {name: whole(p.detach()) - start[name] for name, p in trained.items()}, kinds


def work(folder: Path) -> None:
    """What each of two processes does: all cases in all ways."""
    with join_world() as world:
        for case, way in DONE:
            changes, kinds = train(case, world, parallel=way)
            save_file(changes, folder / f"{case}-{way}-{world.rank}.safetensors")
            said = {"processes": world.size, "kinds": sorted(set(kinds))}
            (folder / f"{case}-{way}-{world.rank}.json").write_text(json.dumps(said))
        for way in WAYS:
            said = each_pair_alone(world, parallel=way)
            (folder / f"alone-{way}-{world.rank}.json").write_text(json.dumps(said))
        kept: dict[str, Any] = {"checkpoint_every": 2, "keep_checkpoints": None}
        for way in WAYS:
            train("full", world, parallel=way, run_dir=folder / way, **kept)
        world.wait()
        for before, after in (("ddp", "fsdp"), ("fsdp", "ddp"), ("fsdp", "fsdp")):
            name = f"{before} to {after}"
            if world.is_main:
                halve(folder / before, folder / name)
            world.wait()
            train("full", world, parallel=after, run_dir=folder / name, resume=True, **kept)


def each_pair_alone(world: World, **settings: Any) -> list[dict[str, float]]:
    """The terms of each pair of the first batch, as they are told of a step that ends a run."""
    loop = make_loop(model=full(), objective=ORPO(0.5), world=world, **{**SETTINGS, **settings})
    batch = next(loop._batches.epoch(0))
    judged = Judged(1, batch, {"loss": torch.ones(2)})
    step = replace(loop._gradient_step, loss=loop._gradient_step.plain)
    return [dict(terms) for terms in examine(judged, step, loop._batches, batch.totals).alone]


def halve(run: Path, copied: Path) -> None:
    """A copy of a run that goes on from its second step."""
    shutil.copytree(run, copied)
    RunDirectory(copied).checkpoints.remove_after(2)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    run_module(__name__, str(folder))
    return folder


@pytest.mark.parametrize(("case", "way"), DONE)
def test_two_processes_give_the_update_of_one(together: Path, case: str, way: str) -> None:
    expected, _ = train(case, ALONE)
    first, second = (load_file(together / f"{case}-{way}-{rank}.safetensors") for rank in range(2))
    assert_same(first, expected)
    assert all(torch.equal(change, second[name]) for name, change in first.items()), "ranks disagree"
    for rank in range(2):
        said = json.loads((together / f"{case}-{way}-{rank}.json").read_text())
        assert said == {"processes": 2, "kinds": ["DTensor" if way == "fsdp" else "Tensor"]}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_told_of_each_pair_of_a_bad_step_is_the_same(together: Path, way: str) -> None:
    expected = each_pair_alone(ALONE)
    assert len(expected) == SETTINGS["batch_size"]
    assert len({terms["grad_norm"] for terms in expected}) > 10
    for rank in range(2):
        found = json.loads((together / f"alone-{way}-{rank}.json").read_text())
        for told, terms in zip(found, expected, strict=True):
            assert told == pytest.approx(terms, rel=1e-4, abs=1e-5)


def parameters(run: Path) -> dict[str, Tensor]:
    """The weights of the last checkpoint, whichever way it was written."""
    loop = make_loop(model=full(), run_dir=run, resume=True, **SETTINGS)
    assert loop.step == STEPS
    return {name: p.detach() for name, p in loop._model.named_parameters()}


@pytest.mark.parametrize("name", ["ddp to fsdp", "fsdp to ddp", "fsdp to fsdp"])
def test_a_run_goes_on_in_another_way_with_the_same_losses(together: Path, name: str) -> None:
    """As one process, too: the checkpoint is read by one here."""
    expected = parameters(together / "ddp")
    start = dict(full().named_parameters())
    found = parameters(together / name)
    assert_same(
        {key: found[key] - start[key].detach() for key in found},
        {key: expected[key] - start[key].detach() for key in expected},
    )


def test_sharded_runs_go_on_to_the_same_bytes(together: Path) -> None:
    whole_run, again = (RunDirectory(together / name) for name in ("fsdp", "fsdp to fsdp"))
    files = {path.name for path in whole_run.checkpoints.at(STEPS).glob("*.safetensors")}
    assert {"parameters-0.safetensors", "parameters-1.safetensors", "optimizer-1.safetensors"} <= files
    assert "parameters.safetensors" not in files
    for name in files:
        before, after = (run.checkpoints.at(STEPS) / name for run in (whole_run, again))
        assert before.read_bytes() == after.read_bytes(), name
    assert whole_run.read_metrics() == again.read_metrics()


if __name__ == "__main__":
    score_as_if_large()
    work(Path(sys.argv[1]))
