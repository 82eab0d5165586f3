"""Local files and folders."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from orpo.data.local import local_path, open_local
from orpo.data.spec import OpenSource, Role, SourceSpec
from orpo.errors import ConfigError, DataError
from tests.datafiles import PLAIN, write_bytes, write_rows


def opened(path: Path, role: Role = "train", split: str | None = None) -> OpenSource:
    return open_local(path, SourceSpec(str(path), split=split), role)


def fill(folder: Path, *names: str) -> Path:
    """One row per file, which tells the file's name."""
    for name in names:
        write_rows(folder / name, [{"name": name}])
    return folder


def names_read(source: OpenSource) -> list[str]:
    return [row.values["name"] for row in source.rows]


def test_a_file_is_read_without_splits_and_known_by_its_bytes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "test.jsonl.gz", PLAIN)
    source = opened(path)
    assert [row.values for row in source.rows] == PLAIN
    assert (source.split, source.splits) == (None, ())
    assert source.fingerprint == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_all_files_of_a_folder_are_read_in_name_order(tmp_path: Path) -> None:
    fill(tmp_path, "b.jsonl", "c/a.parquet", "a.json.gz", "d.csv.zst")
    write_bytes(tmp_path / "README.md", b"# no data")
    write_bytes(tmp_path / ".cache" / "x.json", b"[]")
    write_bytes(tmp_path / "dataset_infos.json", b"{}")
    source = opened(tmp_path)
    assert names_read(source) == ["a.json.gz", "b.jsonl", "c/a.parquet", "d.csv.zst"]
    assert source.split is None


def test_the_files_of_one_split_are_read(tmp_path: Path) -> None:
    fill(tmp_path, "train-00001-of-00002.jsonl", "train-00000-of-00002.jsonl", "test.jsonl", "extra.jsonl")
    source = opened(tmp_path)
    assert names_read(source) == ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]
    assert (source.split, source.splits) == ("train", ("extra", "test", "train"))
    assert names_read(opened(tmp_path, "eval")) == ["test.jsonl"]
    assert names_read(opened(tmp_path, split="extra")) == ["extra.jsonl"]


def test_splits_may_be_folders(tmp_path: Path) -> None:
    fill(tmp_path, "a/train.jsonl", "a/test.jsonl", "b/train.jsonl")
    assert names_read(opened(tmp_path)) == ["a/train.jsonl", "b/train.jsonl"]


def test_what_was_opened_can_be_opened_again_for_the_same_rows(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl")
    spec = opened(tmp_path, "eval").spec
    assert spec is not None
    assert names_read(open_local(tmp_path, spec, "train")) == ["test.jsonl"]


def test_a_folder_is_known_by_the_names_and_bytes_of_the_files_read(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl")
    before = opened(tmp_path).fingerprint
    write_rows(tmp_path / "test.jsonl", PLAIN)
    assert opened(tmp_path).fingerprint == before
    write_rows(tmp_path / "train.jsonl", PLAIN)
    assert opened(tmp_path).fingerprint != before


@pytest.mark.parametrize("key", ["config", "data_dir", "revision"])
def test_what_only_a_hub_dataset_has_is_refused(tmp_path: Path, key: str) -> None:
    path = write_rows(tmp_path / "a.jsonl", PLAIN)
    with pytest.raises(ConfigError, match=f"is local, so it has no {key} \\('x'\\)"):
        open_local(path, replace(SourceSpec(str(path)), **{key: "x"}), "train")


def test_a_split_of_what_has_none_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", PLAIN)
    with pytest.raises(ConfigError, match="is one file, so it has no split 'train'"):
        opened(path, split="train")
    with pytest.raises(ConfigError, match="there is no split 'train'; the names of its files show none"):
        opened(tmp_path, split="train")


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl")
    with pytest.raises(ConfigError, match="there is no split 'eval'; it has `test`, `train`"):
        opened(tmp_path, split="eval")


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    write_bytes(tmp_path / "notes.txt", b"x")
    with pytest.raises(DataError, match="the folder holds no data files"):
        opened(tmp_path)


def test_a_file_without_a_known_ending_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"notes\.txt: not a data file"):
        opened(write_bytes(tmp_path / "notes.txt", b"x"))


def test_a_folder_of_save_to_disk_is_not_taken_for_data_files(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(PLAIN).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="written by `save_to_disk`") as caught:
        opened(tmp_path / "saved")
    assert "load_from_disk" in str(caught.value.hint)


@pytest.mark.parametrize(
    "path", ["./gone", "../gone", "/gone/x", "~/gone-from-home", "gone.jsonl.gz", "a/b.csv"]
)
def test_what_looks_like_a_path_and_is_missing_is_an_error(path: str) -> None:
    with pytest.raises(ConfigError, match="no such file or folder: "):
        local_path(path)


@pytest.mark.parametrize("path", ["owner/name", "name", "~nobody-here/x"[1:]])
def test_what_looks_like_a_hub_id_is_none_unless_it_exists(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path(path) is None
    (tmp_path / path).mkdir(parents=True)
    assert local_path(path) == Path(path)


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rows(tmp_path / "a.jsonl", PLAIN)
    assert local_path("~/a.jsonl") == tmp_path / "a.jsonl"


def test_a_missing_file_is_an_error_with_the_nearest_names(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl", "test.jsonl", "other.parquet")
    with pytest.raises(ConfigError) as caught:
        local_path(str(tmp_path / "trian.jsonl"))
    assert caught.value.hint == f"In {tmp_path} the nearest names are: train.jsonl, test.jsonl."


def test_a_missing_folder_on_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError) as caught:
        local_path(str(tmp_path / "dta" / "hh" / "train.jsonl"))
    assert caught.value.hint == f"In {tmp_path} the nearest names are: data."
    with pytest.raises(ConfigError) as caught:
        local_path(str(tmp_path / "qqq" / "train.jsonl"))
    assert caught.value.hint == f"There is no 'qqq' in {tmp_path}."
