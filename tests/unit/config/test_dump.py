"""The resolved configuration as YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orpo.config import LoadedConfig, dump_config, load_config, parse_config
from orpo.config.keys import KEYS, fields_of
from orpo.config.objectives import ORPOSection
from orpo.config.reference import EXAMPLE
from orpo.errors import ConfigError
from tests.unit.config.conftest import MINIMAL

Load = Callable[..., LoadedConfig]


def test_every_leaf_says_where_it_came_from(load: Load) -> None:
    lines = dump_config(load(EXAMPLE, "data.train.split=train_prefs")).splitlines()
    assert lines[:7] == [
        "model:",
        "  name: HuggingFaceTB/SmolLM2-135M              # config.yaml:1",
        "  revision: null                                # default",
        "  dtype: float32                                # default",
        "  random_init: false                            # default",
        "  quantization: null                            # default",
        "  lora: null                                    # default",
    ]
    assert "    split: train_prefs                          # command line" in lines
    assert "  lambda: 0.1                                   # config.yaml:7" in lines
    assert "  learning_rate: 8e-06                          # config.yaml:12" in lines
    assert all("  # " in line or " # " in line or line.rstrip().endswith(":") for line in lines)


def test_every_key_is_written(load: Load) -> None:
    sources = "train: {path: a, columns: {}}\n  eval: {path: b, columns: {}}"
    text = MINIMAL.replace("base", "{name: base, lora: {}}").replace("train: pairs.jsonl", sources)
    objective = {f"objective.{name}" for name in fields_of(ORPOSection)}
    expected = {path for path, key in KEYS.items() if not key.sections and not path.startswith("objective.")}
    assert set(load(text).provenance) == expected | objective


VARIANTS: list[dict[str, Any]] = [
    {},
    {"model": {"name": "m", "lora": {"target": ["q_proj", "v_proj"], "alpha": 8}}},
    {"data": {"train": ["a", {"path": "b", "split": "c"}], "eval": 0.05}},
    {"data": {"train": [{"path": "b", "config": "c"}], "eval": ["d", "e"]}},
    {"training": {"report_to": ["wandb", "a # b", "c, d"], "max_grad_norm": None, "learning_rate": 1e-10}},
    {
        "data": {
            "train": {
                "path": "a",
                "columns": {
                    "responses": ["a", "b # c"],
                    "preferred": ["x"],
                    "values": {"1": 0, "true": "tie"},
                },
                "where": {"s: x": ">= 2", "#": ["a", 1, True], "1": 0.5},
            }
        }
    },
    {"output": "no: # yes"},
    {"output": "x" * 300 + " " + "y" * 300},
    {"output": "two\nlines"},
    {"output": "\x85"},
    {"output": "2026-01-01"},
]


@pytest.mark.parametrize("values", VARIANTS)
def test_the_written_text_loads_to_an_equal_configuration(tmp_path: Path, values: dict[str, Any]) -> None:
    loaded = parse_config({"model": "m", "data": {"train": "t"}, "output": "o"} | values)
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(loaded), encoding="utf-8")
    assert load_config(file).config == loaded.config


@settings(deadline=None, max_examples=100)
@given(output=st.text(max_size=20), lambda_=st.floats(0, 1e30), origin=st.text(max_size=20))
def test_any_text_and_number_survives(
    tmp_path_factory: pytest.TempPathFactory, output: str, lambda_: float, origin: str
) -> None:
    values = {"model": "m", "data": {"train": "t"}, "output": output, "objective": {"lambda": lambda_}}
    loaded = parse_config(values, origin=origin)
    file = tmp_path_factory.getbasetemp() / "survives.yaml"
    file.write_text(dump_config(loaded), encoding="utf-8", newline="")
    assert load_config(file).config == loaded.config


def test_a_long_value_keeps_its_comment_on_its_line(load: Load) -> None:
    long = " ".join(["word"] * 60)
    assert f"output: {long} # command line" in dump_config(load(MINIMAL, f"output={long}")).splitlines()


def test_a_resolved_file_can_be_overridden_and_dumped_again(tmp_path: Path, load: Load) -> None:
    file = tmp_path / "resolved.yaml"
    file.write_text(dump_config(load(MINIMAL)), encoding="utf-8")
    again = load_config(file, ["data.train.split=x", "model.lora.r=4"])
    assert again.config.data.train[0].split == "x"
    assert "command line" in dump_config(again)


def test_an_unknown_key_in_a_resolved_file_is_still_refused(tmp_path: Path, load: Load) -> None:
    file = tmp_path / "resolved.yaml"
    file.write_text(dump_config(load(MINIMAL)) + "extra: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key `extra`"):
        load_config(file)
