"""What `dump_config` wrote is read back with its origins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.config import dump_config, parse_config, read_recorded
from orpo.config.recorded import Setting
from orpo.errors import ConfigError

CONFIGS: list[dict[str, Any]] = [
    {},
    {"model": {"name": "m", "lora": {"target": ["q_proj", "v_proj"], "alpha": 8}}},
    {"data": {"train": ["a # b", {"path": "b: 'c' # d", "split": "c"}], "eval": 0.05}},
    {"data": {"train": "line\nbreak"}, "training": {"report_to": ["wandb", "a # b"], "max_grad_norm": None}},
    {"data": {"train": {"path": "a", "columns": {"prompt": "q # r", "chosen": "c", "rejected": "r"}}}},
]


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("changes", CONFIGS)
def test_every_origin_and_value_comes_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = {"model": "m", "data": {"train": "t"}, "output": "o # p"} | changes
    loaded = parse_config(config, ["training.seed=7"])
    found = {one.key: one for one in read_recorded(write(tmp_path, dump_config(loaded)))}
    assert {key: found[key].origin for key in loaded.provenance} == dict(loaded.provenance)
    assert found["training.seed"] == Setting("training.seed", 7, "command line")
    assert found["output"].value == "o # p"
    assert found["training.epochs"].is_default


def test_lists_of_sources_are_numbered(tmp_path: Path) -> None:
    loaded = parse_config({"model": "m", "data": {"train": ["a", "b # c"]}, "output": "o"})
    found = {one.key: one.value for one in read_recorded(write(tmp_path, dump_config(loaded)))}
    assert (found["data.train.0.path"], found["data.train.1.path"]) == ("a", "b # c")


def test_an_empty_list_or_mapping_is_a_value(tmp_path: Path) -> None:
    found = read_recorded(write(tmp_path, "a: []  # default\nb: {}\n"))
    assert found == (Setting("a", [], "default"), Setting("b", {}, ""))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "config.yaml:1"),
        ("a: 1\n- b", "config.yaml:2"),
        ("a: 1\na: 2", "config.yaml:2: duplicate key `a`"),
        ("a: !!python/object:os.system {}", "tags"),
        ("- a", "config.yaml:1: not a configuration: a mapping was expected"),
        ("", "config.yaml:1: not a configuration"),
        ("a: &a [*a]", "config.yaml:1"),
    ],
)
def test_what_is_no_configuration_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recorded(write(tmp_path, text))
    assert said in caught.value.message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        read_recorded(path)
