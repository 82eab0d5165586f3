"""Which split is read."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from orpo.data.spec import Role
from orpo.data.splits import choose_split, split_of_file
from orpo.errors import ConfigError, DataError

ULTRAFEEDBACK = ["train_prefs", "train_sft", "test_prefs", "test_sft", "train_gen", "test_gen"]


@pytest.mark.parametrize(
    ("available", "role", "chosen"),
    [
        (["test", "train"], "train", "train"),
        (["train_prefs", "train", "test"], "train", "train"),
        (ULTRAFEEDBACK, "train", "train_prefs"),
        (["train_v2", "test"], "train", "train_v2"),
        (["default"], "train", "default"),
        (["test"], "train", "test"),
        (["test", "eval", "train"], "eval", "eval"),
        (["train", "validation", "test"], "eval", "test"),
        (ULTRAFEEDBACK, "eval", "test_prefs"),
        (["train", "validation"], "eval", "validation"),
        (["train", "dev"], "eval", "dev"),
        (["train", "test_v2"], "eval", "test_v2"),
    ],
)
def test_names_suggest_the_split(available: list[str], role: Role, chosen: str) -> None:
    assert choose_split(available, role, None, "x") == chosen


@pytest.mark.parametrize(
    ("available", "role"),
    [
        (["train_iteration_1", "train_iteration_2"], "train"),
        (["helpful", "harmless"], "train"),
        (["train"], "eval"),  # evaluating on the training rows is not something to guess
        (["default"], "eval"),
        (["train", "test_a", "test_b"], "eval"),
        (["train", "testimony"], "eval"),
    ],
)
def test_what_names_leave_open_is_an_error_that_lists_them(available: list[str], role: Role) -> None:
    with pytest.raises(DataError, match=f"which split holds the {role} rows is not clear") as caught:
        choose_split(available, role, None, "owner/name")
    assert all(f"`{name}`" in caught.value.message for name in available)


def test_a_named_split_wins() -> None:
    assert choose_split(ULTRAFEEDBACK, "train", "test_gen", "x") == "test_gen"


def test_a_named_split_that_is_not_there_is_an_error_that_lists_the_others() -> None:
    with pytest.raises(ConfigError, match=r"owner/name: there is no split 'trian'; it has `train`, `test`"):
        choose_split(["train", "test"], "train", "trian", "owner/name")


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("train.jsonl.gz", "train"),
        ("train-00000-of-00003.parquet", "train"),
        ("train_1.csv", "train"),
        ("train2.csv", "train"),
        ("train_prefs-00000-of-00001.parquet", "train_prefs"),
        ("dpo_train.jsonl", "train"),
        ("harmless-base/test.jsonl.gz", "test"),
        ("validation/part-3.json", "validation"),
        ("Test.jsonl", "Test"),
        ("trainer.jsonl", None),
        ("contest.jsonl", None),
        ("pairs.jsonl", None),
    ],
)
def test_file_names_show_splits(path: str, split: str | None) -> None:
    assert split_of_file(PurePosixPath(path)) == split
