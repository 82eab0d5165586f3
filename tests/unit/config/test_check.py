"""All mistakes at once, each in one clear line, and never a credential."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from orpo.config import LoadedConfig
from orpo.errors import ConfigError
from tests.unit.config.conftest import MINIMAL

Load = Callable[..., LoadedConfig]
Refused = Callable[..., ConfigError]

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3h"


def test_all_mistakes_are_listed_at_once_by_line(refused: Refused) -> None:
    error = refused(
        """\
model: base
learning_rate: 1e-5
data:
  train: pairs.jsonl
  trunction: drop
objective:
  lambda: -1
  definition: papr
training:
  batch_size: "64"
  batch_size: 4
  epochs: true
  learning_rate: 7
""",
        "training.seed=-1",
    )
    assert error.exit_code == 2
    assert error.message.splitlines() == [
        "config.yaml:2: unknown key `learning_rate`: did you mean `training.learning_rate`?",
        "config.yaml:5: unknown key `data.trunction`: did you mean `data.truncation`?",
        "config.yaml:7: `objective.lambda`: expected a number >= 0, got -1",
        'config.yaml:8: `objective.definition`: expected `paper` or `trl`, got the text "papr"',
        "config.yaml:11: duplicate key `training.batch_size`, first given at line 10",
        "config.yaml:12: `training.epochs`: expected a number > 0, got true",
        "config.yaml:13: `training.learning_rate`: expected a number > 0 and <= 1, got 7",
        "config.yaml: missing key `output`: The run directory. It must be new or empty.",
        "command line: `training.seed`: expected a whole number >= 0 and < 4294967296, got -1",
    ]


EVAL = (
    "a number > 0 and < 1, text (its `path`), a mapping with keys such as `path`, a list of these or `null`"
)
SOURCES = "text (its `path`), a mapping with keys such as `path` or a list of these"
MODEL = "text (its `name`) or a mapping with keys such as `name`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {train: a, eval: 1.5}", f"`data.eval`: expected {EVAL}, got 1.5"),
        ("data: {train: a, eval: true}", f"`data.eval`: expected {EVAL}, got true"),
        ("data: {train: a, eval: [b, 5]}", f'`data.eval`: expected {EVAL}, got ["b", 5]'),
        ("data: {train: a, eval: {split: x}}", "missing key `data.eval.path`: "),
        ("data: {train: a, eval: [b, {split: x}]}", "missing key `data.eval.1.path`: "),
        ("data: {train: a, eval: {path: 1}}", "`data.eval.path`: expected text, got 1"),
        ("data: {train: []}", f"`data.train`: expected {SOURCES}, got []"),
        ("data: {train: 3}", f"`data.train`: expected {SOURCES}, got 3"),
        ("data: {train: null}", f"`data.train`: expected {SOURCES}, got null"),
        (
            "data: {train: a, max_length: 1.0}",
            "`data.max_length`: expected `auto` or a whole number > 0, got 1.0",
        ),
        (
            "data: {train: a, max_length: x}",
            '`data.max_length`: expected `auto` or a whole number > 0, got the text "x"',
        ),
        ("data: a", '`data`: expected a mapping with keys such as `train`, got the text "a"'),
        ("data:", "`data`: expected a mapping with keys such as `train`, got null"),
        ("model: 5", f"`model`: expected {MODEL}, got 5"),
        ("model: {}", "missing key `model.name`: "),
        (
            "model: {name: a, lora: 5}",
            "`model.lora`: expected a mapping with keys such as `r` or `null`, got 5",
        ),
        (
            "model: {name: a, lora: {target: [1]}}",
            "`model.lora.target`: expected text or a list of text, got [1]",
        ),
        (
            "model: {name: a, lora: {dropout: 1}}",
            "`model.lora.dropout`: expected a number >= 0 and < 1, got 1",
        ),
        (
            "training: {learning_rate: '8e-6'}",
            '`training.learning_rate`: expected a number > 0 and <= 1, got the text "8e-6"',
        ),
        ("training: {epochs: .nan}", "`training.epochs`: expected a number > 0, got NaN"),
        (
            "training: {batch_size: {a: 1}}",
            '`training.batch_size`: expected a whole number > 0, got {"a": 1}',
        ),
        ("training: {shuffle: no}", '`training.shuffle`: expected `true` or `false`, got the text "no"'),
        (
            "training: {report_to: wandb}",
            '`training.report_to`: expected a list of text, got the text "wandb"',
        ),
        ("training: {report_to: [1]}", "`training.report_to`: expected a list of text, got [1]"),
        (
            "training: {warmup: 1.5}",
            "`training.warmup`: expected a fraction below 1 or a whole number of steps, got 1.5",
        ),
        (
            "objective: {definition: trl, nll_turns: all}",
            "`objective.nll_turns`: `definition: trl` covers every token of the conversation; expected final",
        ),
        (
            "objective: {name: simpo, lambda: 0.1}",
            "`objective.lambda` is a key of `orpo`; those of `simpo` are `name`, `beta`, `gamma_beta_ratio`",
        ),
        (
            "objective: {name: dppo}",
            "`objective.name`: expected `orpo`, `sft`, `dpo`, `ipo`, `simpo`, `kto` or `reward`, "
            'got the text "dppo"',
        ),
        ("objective: {beta: 0.1}", "unknown key `objective.beta`: it is `objective.lambda` here"),
        ("training: [a]", '`training`: expected a mapping with keys such as `batch_size`, got ["a"]'),
    ],
)
def test_a_wrong_value_is_one_line_without_pydantics_words(refused: Refused, text: str, message: str) -> None:
    section = text.partition(":")[0]
    parts = {"model": "model: m", "data": "data: {train: t}", "output": "output: o"} | {section: text}
    error = refused("\n".join(parts.values()) + "\n")
    line = list(parts).index(section) + 1
    assert error.message.startswith(f"config.yaml:{line}: {message}")
    assert "\n" not in error.message


def test_whole_numbers_are_numbers(load: Load) -> None:
    config = load(MINIMAL + "training: {epochs: 1, warmup: 100, weight_decay: 0}\n").config
    assert config.training.epochs == 1.0
    assert type(config.training.epochs) is float


def test_a_typo_of_a_required_key_is_not_reported_as_missing_too(refused: Refused) -> None:
    error = refused("modle: base\ndatasets: pairs.jsonl\noutput_dir: run\n")
    assert error.message.splitlines() == [
        "config.yaml:1: unknown key `modle`: did you mean `model`?",
        "config.yaml:2: unknown key `datasets`: it is `data.train` here",
        "config.yaml:3: unknown key `output_dir`: it is `output` here",
    ]


def test_a_typo_does_not_hide_a_wrong_value_of_the_key_that_was_meant(refused: Refused) -> None:
    error = refused(MINIMAL + "seeed: 1\ntraining: {seed: x}\n")
    assert len(error.message.splitlines()) == 2


def test_text_that_is_no_name_is_not_repeated(refused: Refused) -> None:
    error = refused("root:$6$salt$hash: 1\n" + MINIMAL)
    assert "salt" not in error.message
    assert error.message.startswith("config.yaml:1: unknown key (not a name)")


def assert_untold(error: ConfigError, secret: str) -> None:
    """Neither the error nor anything that a traceback would print with it has the secret."""
    told = "".join(traceback.format_exception(error))
    assert secret not in told
    assert secret not in repr(error.args)
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (f"{MINIMAL}hub_token: {TOKEN}\n", 5, "hub_token"),
        (f"{MINIMAL}training:\n  max_grad_norm: {TOKEN}\n", 6, "training.max_grad_norm"),
        (MINIMAL.replace("base", TOKEN), 1, "model"),
        (MINIMAL.replace("pairs.jsonl", f"[a, {TOKEN}]"), 3, "data.train.1"),
        (f"{MINIMAL}wandb: {{api_key: {TOKEN}}}\n", 5, "wandb.api_key"),
    ],
)
def test_a_token_is_refused_by_line_and_key_and_never_told(
    refused: Refused, text: str, line: int, key: str
) -> None:
    error = refused(text)
    assert error.message == (
        f"config.yaml:{line}: `{key}` holds what looks like a credential; a configuration must not"
    )
    assert error.hint is not None
    assert "hf auth login" in error.hint
    assert_untold(error, TOKEN)


@pytest.mark.parametrize(
    "value", ["hunter2", "12345", "[hunter2, 12345]", "{a: {b: hunter2}}", "*hunter2", '"hunter2']
)
@pytest.mark.parametrize("as_override", [False, True])
def test_a_password_is_never_told_whatever_its_shape(refused: Refused, value: str, as_override: bool) -> None:
    if as_override:
        error = refused(MINIMAL, f"hub.password={value}")
        assert error.message.startswith("command line: `hub.password")
    else:
        error = refused(f"{MINIMAL}password: {value}\n")
        assert error.message.startswith("config.yaml:")
    assert_untold(error, "hunter2")
    assert_untold(error, "12345")


@pytest.mark.parametrize(
    "override",
    [
        f"hub.token={TOKEN}",
        f"model={TOKEN}",
        f"model.name=[{TOKEN}]",
        f"training.seed={TOKEN}",
        f"objective.lambda=[{TOKEN}",
        f"objective.lambda=*{TOKEN}",
        f"{TOKEN}=1",
        f"training.{TOKEN}=1",
        f"output.{TOKEN}=1",
        f"a: {TOKEN}",
        TOKEN,
        f"--token {TOKEN}",
    ],
)
def test_a_token_on_the_command_line_is_never_told(refused: Refused, override: str) -> None:
    error = refused(MINIMAL, override)
    assert error.message.startswith("command line: ")
    assert_untold(error, TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"- {TOKEN}",
        f"- password: {TOKEN}",
        f"{TOKEN}: 1",
        f"a: {TOKEN}\na: {TOKEN}",
        f"{TOKEN}: 1\n{TOKEN}: 2",
        f"a: *{TOKEN}",
        f"a: !{TOKEN} b",
        f"a: !{TOKEN}!x b",
        f"a: [{TOKEN}",
        f"a: b: {TOKEN}",
        f"%{TOKEN} x\n---\na: 1",
    ],
)
def test_a_token_in_a_text_that_is_no_configuration_is_never_told(refused: Refused, text: str) -> None:
    assert_untold(refused(text), TOKEN)


def test_null_under_the_name_of_a_credential_is_only_an_unknown_key(refused: Refused) -> None:
    assert refused(MINIMAL + "hub_token: null\n").message.startswith("config.yaml:5: unknown key `hub_token`")
