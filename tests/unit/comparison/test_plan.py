"""Every system gets the same visits of pairs, and what is not alike is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.comparison.plan import Passes
from orpo.config.load import resolved
from tests.unit.comparison.evidence import TEXT, plan


def test_every_system_has_the_budget_with_all_of_its_phases(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert {one.name: one.visits for one in made.systems} == {
        "sft": 64,
        "orpo-lambda-0.1": 64,
        "orpo-lambda-1.0": 64,
        "dpo": 64,
    }
    dpo = made.systems[-1]
    assert [[run.steps for run in phases] for phases in dpo.phases.values()] == [[4, 4], [4, 4]]


def test_a_second_phase_starts_from_the_first_with_another_seed(tmp_path: Path) -> None:
    first, second = plan(tmp_path).systems[-1].phases[2]
    assert first.objective == "sft"
    assert second.config.model.name == f"{first.config.output}/model" == "compared/starts/sft/seed-2/model"
    assert (first.config.training.seed, second.config.training.seed) == (2, 102)


def test_a_run_that_two_systems_start_from_is_made_once(tmp_path: Path) -> None:
    text = TEXT.replace(
        "  evaluation", "    - {name: simpo, after: sft, objective: {name: simpo}}\n  evaluation"
    )
    made = plan(tmp_path, text)
    paths = [str(run.path) for run in made.runs]
    assert len(paths) == len(set(paths)) == 2 * (3 + 1 + 1 + 1)
    assert paths.index("compared/starts/sft/seed-1") < paths.index("compared/runs/dpo/seed-1")


def test_an_odd_number_of_steps_leaves_the_larger_part_to_the_second_phase(tmp_path: Path) -> None:
    first, second = plan(tmp_path, TEXT.replace("budget: 64", "budget: 56")).systems[-1].phases[1]
    assert (first.steps, second.steps) == (3, 4)


def test_an_objective_of_single_responses_sees_as_many_pairs(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT.replace("objective: {name: dpo}", "objective: {name: kto}"))
    kto = made.systems[-1]
    assert (kto.visits, kto.config.training.batch_size) == (64, 16)
    assert any("two responses of a pair as two rows" in one for one in made.deviations)


def test_whole_batches_that_miss_the_budget_are_told(tmp_path: Path) -> None:
    made = plan(tmp_path, TEXT.replace("budget: 64", "budget: 60"))
    assert "sft: whole batches make 64 visits, and the budget is 60" in made.deviations


def test_settings_of_training_that_differ_are_told(tmp_path: Path) -> None:
    text = TEXT.replace("objective: {name: sft}}", "objective: {name: sft}, training: {learning_rate: 1e-3}}")
    (told,) = (one for one in plan(tmp_path, text).deviations if one.startswith("training."))
    assert told.startswith("training.learning_rate: sft 0.001, orpo-lambda-0.1 8e-06")


def test_runs_of_a_system_differ_in_seed_and_place_alone(tmp_path: Path) -> None:
    sft = plan(tmp_path).systems[0]
    first, second = (resolved(sft.phases[seed][0].config) for seed in (1, 2))
    assert first.pop("output") != second.pop("output")
    assert first["training"].pop("seed") != second["training"].pop("seed")
    assert first == second


@pytest.mark.parametrize(
    ("objective", "with_gradient", "without"),
    [("sft", 1, 0), ("orpo", 2, 0), ("simpo", 2, 0), ("dpo", 2, 2), ("ipo", 2, 2), ("kto", 2, 6)],
)
def test_passes_of_an_objective(objective: str, with_gradient: int, without: int) -> None:
    assert Passes.of(objective) == Passes(with_gradient, without)
