"""``key=value`` arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orpo.config import LoadedConfig, SourceSection
from orpo.config.objectives import ORPOSection
from orpo.errors import ConfigError
from tests.unit.config.conftest import MINIMAL

Load = Callable[..., LoadedConfig]
Refused = Callable[..., ConfigError]


def test_values_are_yaml(load: Load) -> None:
    config = load(
        MINIMAL + "objective:\n  lambda: 0.1\n",
        "objective.lambda=0.2",
        "data.eval=null",
        "training.report_to=[tensorboard, wandb]",
        "training.learning_rate=1e-5",
        "output=runs/a=b",
        "training.shuffle=false",
    ).config
    assert config.objective == ORPOSection(lambda_=0.2)
    assert config.data.eval is None
    assert config.training.report_to == ("tensorboard", "wandb")
    assert config.training.learning_rate == 1e-5
    assert config.output == "runs/a=b"
    assert config.training.shuffle is False


def test_the_last_of_two_overrides_wins(load: Load) -> None:
    assert load(MINIMAL, "training.seed=1", "training.seed=2").config.training.seed == 2


def test_a_part_of_a_section_given_by_its_short_form_can_be_set(load: Load) -> None:
    config = load(MINIMAL, "model.dtype=bfloat16", "model.lora.r=8", "data.train.split=train_prefs").config
    assert config.model.name == "base"
    assert config.model.dtype == "bfloat16"
    assert config.model.lora is not None
    assert config.model.lora.r == 8
    assert config.data.train == (SourceSection(path="pairs.jsonl", split="train_prefs"),)


def test_an_item_of_a_list_is_set_by_its_position(load: Load) -> None:
    text = MINIMAL.replace("pairs.jsonl", "[a, b]")
    assert load(text, "data.train.1.split=x").config.data.train[1] == SourceSection(path="b", split="x")


def test_a_part_of_a_list_without_position_is_refused(refused: Refused) -> None:
    error = refused(MINIMAL.replace("pairs.jsonl", "[a, b]"), "data.train.split=x")
    assert error.message == (
        "command line: cannot set `split` in `data.train`: config.yaml:3 makes it a list of 2; "
        "name an item by its position from 0, as in `data.train.0`"
    )


def test_a_whole_section_can_be_replaced(load: Load) -> None:
    config = load(MINIMAL + "training:\n  seed: 1\n  epochs: 3\n", "training={seed: 2}").config
    assert (config.training.seed, config.training.epochs) == (2, 1.0)


def test_an_unknown_key_gets_the_nearest_one(refused: Refused) -> None:
    error = refused(MINIMAL, "training.learing_rate=1e-5", "epochs=2")
    assert error.message.splitlines() == [
        "command line: unknown key `training.learing_rate`: did you mean `training.learning_rate`?",
        "command line: unknown key `epochs`: did you mean `training.epochs`?",
    ]


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("training.seed", "training.seed"),
        ("training.seed: 3", "training.seed"),
        ("password:hunter2", "password"),
        ("=3", ""),
        ("training..seed=3", "training..seed"),
    ],
)
def test_what_is_not_an_override_is_refused_with_an_example(
    refused: Refused, override: str, shown: str
) -> None:
    error = refused(MINIMAL, "training.epochs=2", override)
    assert error.message == (
        f"command line: override number 2 (it starts with `{shown}`) is not of the form key=value"
    )
    assert error.hint is not None
    assert "training.seed=1" in error.hint


def test_a_value_that_is_not_yaml_is_refused_once(refused: Refused) -> None:
    error = refused(MINIMAL, "training.report_to=[a")
    assert error.message.startswith("command line: `training.report_to`: not valid YAML: ")
    assert len(error.message.splitlines()) == 1


def test_a_wrong_value_comes_from_the_command_line(refused: Refused) -> None:
    error = refused(MINIMAL + "training:\n  seed: 1\n", "training.seed=x")
    assert error.message == (
        'command line: `training.seed`: expected a whole number >= 0 and < 4294967296, got the text "x"'
    )


def test_a_part_of_a_single_value_cannot_be_set(refused: Refused) -> None:
    error = refused(MINIMAL + "training:\n  seed: 1\n", "training.seed.x=2")
    assert error.message == (
        "command line: cannot set `x` in `training.seed`: "
        "config.yaml:6 makes it a single value, which has no parts"
    )
