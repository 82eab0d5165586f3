from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import load_dataset

from orpo.build.files import describe_file, staged, write_items
from orpo.build.options import Format
from orpo.build.provenance import Item
from orpo.build.rows import Numbers, row_of
from orpo.data import SourceSpec, read_examples
from orpo.errors import ConfigError, ResourceError
from tests.conversations import chat
from tests.unit.build.items import item, single

HOSTILE = '\0 \u2028 \x85 \x1b[31m \u202e </s> \r\n "quoted" \\ \ufeff 日本 😀 NaN'


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Staging


def test_a_folder_takes_its_place_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "down" / "out"
    with staged(target) as folder:
        (folder / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "a"
    assert left(tmp_path) == ["deep"]


def test_an_empty_folder_is_taken_and_has_the_permissions_of_any_new_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "other").mkdir()
    with staged(tmp_path / "out") as folder:
        (folder / "a.txt").touch()
    assert left(tmp_path / "out") == ["a.txt"]
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt(), ValueError()])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), staged(tmp_path / "deep" / "out") as folder:  # noqa: PT012
        (folder / "a.txt").touch()
        raise error
    assert left(tmp_path) == []


def test_a_folder_that_holds_anything_and_a_file_are_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "out"):
        with pytest.raises(ConfigError) as refused, staged(target):
            pytest.fail("nothing may be written")
        assert "Choose another directory with --output DIR" in str(refused.value)
    assert left(tmp_path) == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_current_directory_is_refused_and_a_link_to_an_empty_folder_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with staged(tmp_path / "link") as folder:
        (folder / "a.txt").touch()
    assert left(tmp_path / "real") == left(tmp_path / "link") == ["a.txt"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match="is the current directory"), staged(Path()):
        pytest.fail("nothing may be written")


def test_a_place_that_cannot_be_written_is_one_message() -> None:
    with pytest.raises(ResourceError, match="/proc/orpo/out cannot be written") as refused:  # noqa: SIM117
        with staged(Path("/proc/orpo/out")):
            pytest.fail("nothing may be written")
    assert "nothing is left of what was written" in str(refused.value)


# Files


ITEMS = {
    "chats": [
        item(chat(HOSTILE, "a", f"Q{i}", system="s" if i % 2 else None), HOSTILE, f"b{i}") for i in range(3)
    ],
    "text": [item(HOSTILE if i else "", f" {HOSTILE}", f" b{i}") for i in range(3)],
    "single chats": [single(chat(f"Q{i}"), HOSTILE) for i in range(3)],
    "single texts": [single(f"Q{i}", HOSTILE) for i in range(3)],
}


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS.keys())
def test_what_is_written_is_read_back_without_a_map(tmp_path: Path, items: list[Item], form: Format) -> None:
    path = tmp_path / f"train.{form}"
    write_items(path, items, form, Numbers())
    table = read_examples([str(path)], role="train")
    assert [replace(example, where="") for example in table] == [
        replace(one.example, where="") for one in items
    ]
    assert not table.counts.dropped


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS.keys())
def test_what_is_written_is_what_datasets_loads(tmp_path: Path, items: list[Item], form: Format) -> None:
    path = tmp_path / f"train.{form}"
    write_items(path, items, form, Numbers(weight=True))
    kind = {"jsonl": "json", "parquet": "parquet"}[form]
    rows = load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(rows) == [row_of(one, Numbers(weight=True)) for one in items]


@pytest.mark.parametrize("form", list(Format))
def test_weights_are_read_back_by_name(tmp_path: Path, form: Format) -> None:
    path = tmp_path / f"train.{form}"
    items = [Item(replace(item(f"p{i}").example, weight=0.5 + i), "f") for i in range(3)]
    write_items(path, items, form, Numbers(weight=True))
    table = read_examples([SourceSpec(str(path), columns={"weight": "weight"})], role="train")
    assert [example.weight for example in table] == [0.5, 1.5, 2.5]


def test_more_rows_than_a_row_group_are_all_written(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write_items(path, [item(f"p{i}") for i in range(2500)], Format.PARQUET, Numbers())
    assert [example.prompt for example in read_examples([str(path)], role="train")] == [
        f"p{i}" for i in range(2500)
    ]


def test_a_file_is_described_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_items(path, [item("p")], Format.JSONL, Numbers())
    content = path.read_bytes()
    assert describe_file(path, 1) == {
        "rows": 1,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert json.loads(content)["prompt"] == "p"
