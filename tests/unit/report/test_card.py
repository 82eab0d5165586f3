"""The card says what the model is, in a form that the Hub reads, and nothing about who trained it where."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from orpo.report.card import model_card

COUNTS = {"read": 100, "kept": 97, "dropped": {"identical responses": 3}, "notes": {}}
EVALUATIONS = [
    (step, {
        "loss": 2.0 - step / 10,
        "nll_loss": 1.5,
        "rewards/accuracies": 0.5 + step / 20,
        "log_odds_chosen": 0.125,
        "logps/chosen": -1.5,
        "logps/rejected": -1.75,
    })
    for step in (0, 3, 8)
]  # fmt: skip


def definition(**changes: Any) -> dict[str, Any]:
    """A definition.json; `changes` go into its sections."""
    sections: dict[str, dict[str, Any]] = {
        "objective": {
            "name": "orpo",
            "definition": "paper",
            "lambda": 0.25,
            "title": "ORPO (arXiv)",
            "formula": "L = L_NLL + lambda * L_OR",
        },
        "model": {"name": "owner/base", "is_reward_model": False, "commit": "abc", "lora": None},
        "data": {
            "train": [{"path": "owner/pairs", "split": "train_prefs", "fingerprint": "hub:1:2", **COUNTS}],
            "eval": [],
            "tokens": {"train": {"read": 97, "kept": 90, "dropped": {"too long": 7}, "notes": {"cut": 4}}},
            "used": {
                "train": {"pairs": 60, "singles": 20, "of_no_use": 10},
                "eval": {"pairs": 10, "singles": 0, "of_no_use": 0},
            },
            "max_length": 512,
        },
        "versions": {"orpo": "0.1.0", "torch": "2.13.0"},
    }
    return {name: section | changes.get(name, {}) for name, section in sections.items()}


def front_matter(card: str) -> dict[str, Any]:
    start, text, _ = card.split("---\n", 2)
    assert start == ""
    return YAML(typ="safe").load(text)


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front_matter(model_card(definition(), EVALUATIONS)) == {
        "base_model": "owner/base",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["orpo", "preference-optimization"],
    }


@pytest.mark.parametrize(("merge", "library"), [(False, "peft"), (True, "transformers")])
def test_an_adapter_is_for_peft_and_a_merged_one_is_not(merge: bool, library: str) -> None:
    card = model_card(definition(model={"lora": {"r": 8, "merge": merge}}), EVALUATIONS)
    assert front_matter(card)["library_name"] == library


def test_the_card_states_objective_data_and_metrics() -> None:
    card = model_card(definition(), EVALUATIONS)
    assert "# owner/base, aligned with ORPO\n" in card
    assert "ORPO (arXiv):\n`L = L_NLL + lambda * L_OR`; definition = paper, lambda = 0.25.\n" in card
    assert "| train | owner/pairs | train_prefs | 100 | 97 | 3 identical responses |\n" in card
    assert "at most 512 tokens" in card
    assert "* train: 90 of 97; dropped 7: too long; note 4: cut\n" in card
    used = "* train: 60 pairs and 20 single responses; 10 were of no use to the objective\n* eval: 10 pairs\n"
    assert used in card
    assert "| metric | step 0 | step 8 |\n" in card
    assert "| loss | 2.0000 | 1.2000 |\n" in card
    assert "| pair accuracy | 0.5000 | 0.9000 |\n" in card
    assert "orpo 0.1.0, torch 2.13.0" in card


def test_metrics_that_an_objective_lacks_have_no_row() -> None:
    without = [(step, {"loss": 1.0, "logps/chosen": -1.0}) for step in (0, 8)]
    card = model_card(definition(objective={"name": "simpo"}), without)
    assert "aligned with SIMPO" in card
    assert "| loss | 1.0000 | 1.0000 |" in card
    assert "NLL" not in card.split("## Held-out pairs")[1]


def test_local_paths_are_not_published() -> None:
    source = {
        "path": "/elsewhere/private|pairs.jsonl",
        "split": None,
        "fingerprint": "sha256:1",
        **COUNTS,
    }
    local = definition(model={"name": "/elsewhere/models/base", "commit": None}, data={"eval": [source]})
    card = model_card(local, EVALUATIONS)
    assert "elsewhere" not in card
    assert "# base, aligned with ORPO\n" in card
    assert "base_model" not in front_matter(card), "the Hub refuses a base model that is not on it"
    assert r"| eval | private\|pairs.jsonl |  | 100 |" in card, "a bar in a name does not end the cell"


def test_without_held_out_pairs_the_card_says_so() -> None:
    assert "## Held-out pairs\n\nNone were given.\n" in model_card(definition(), [])


def test_a_reward_models_card_says_how_good_a_judge_it_is() -> None:
    assessment = {
        "pairs": 300,
        "accuracy": {"rate": 0.62, "low": 0.56, "high": 0.67},
        "by_length": {"rule": "shorter wins", "rate": 0.58, "low": 0.5, "high": 0.6, "p_value": 0.2},
        "fit_to_judge": False,
        "calibration": {
            "expected_error": 0.041,
            "brier": 0.234,
            "bins": [{"confidence": 0.61, "accuracy": 0.57, "pairs": 30}],
        },
    }
    card = model_card(definition(model={"is_reward_model": True}), EVALUATIONS, assessment)
    assert "# Reward model from owner/base\n" in card
    assert front_matter(card)["pipeline_tag"] == "text-classification"
    assert "Right on 62.0% of 300 pairs (95 % interval 56.0% to 67.0%)" in card
    assert 'the rule "shorter wins" is right on 58.0% (p = 0.2). It should not judge other models' in card
    assert "Expected calibration error 0.041, Brier score 0.234:" in card
    assert "| 61.0% | 57.0% | 30 |\n" in card
    without = model_card(definition(), EVALUATIONS, assessment | {"fit_to_judge": True, "calibration": None})
    assert "It may judge other models." in without
    assert "calibration" not in without
