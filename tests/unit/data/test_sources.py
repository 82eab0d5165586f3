"""Opening whatever is named as data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from orpo.data.sources import open_source
from orpo.data.spec import MemorySource, SourceSpec
from orpo.errors import ConfigError, DataError, NetworkError
from tests.datafiles import PLAIN, write_rows


def test_rows_in_memory_are_numbered_from_one() -> None:
    source = open_source(iter(PLAIN))
    assert [(row.where, row.values) for row in source.rows] == [("row 1", PLAIN[0]), ("row 2", PLAIN[1])]
    assert source.spec == SourceSpec("rows in memory")


def test_rows_in_memory_take_the_options_of_a_source_and_not_its_place() -> None:
    options: dict[str, Any] = {
        "columns": {"weight": "w"},
        "criterion": "c",
        "policy": "best-vs-random",
        "min_margin": 1.0,
    }
    place: dict[str, Any] = {"config": "a", "data_dir": "b", "split": "c", "revision": "d"}
    spec = SourceSpec("owner/name", where={"x": 1}, **options, **place)
    source = open_source(MemorySource(PLAIN, spec))
    assert [row.where for row in source.rows] == ["row 1", "row 2"]
    assert source.spec == SourceSpec("rows in memory", where={"x": 1}, **options)
    dataset = datasets.Dataset.from_list(PLAIN)
    assert open_source(MemorySource(dataset, spec)).fingerprint == f"datasets:{dataset._fingerprint}"


def test_a_dataset_is_read_as_arrow_and_keeps_its_fingerprint() -> None:
    dataset = datasets.Dataset.from_list(PLAIN).with_format("numpy")
    source = open_source(dataset)
    assert [(row.where, row.values) for row in source.rows] == [("row 1", PLAIN[0]), ("row 2", PLAIN[1])]
    assert source.fingerprint == f"datasets:{dataset._fingerprint}"


def test_media_of_a_dataset_are_not_decoded() -> None:
    columns = {name: [PLAIN[0][name]] for name in PLAIN[0]} | {"image": [{"bytes": b"broken", "path": None}]}
    features = {name: datasets.Value("string") for name in PLAIN[0]} | {"image": datasets.Image()}
    dataset = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    (row,) = open_source(dataset).rows
    assert row.values["chosen"] == PLAIN[0]["chosen"]


@pytest.mark.parametrize(
    "source", [{"train": PLAIN}, datasets.DatasetDict({"train": datasets.Dataset.from_list(PLAIN)})]
)
def test_several_splits_in_memory_are_refused(source: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match="got a mapping with the keys 'train'") as caught:
        open_source(source)  # pyright: ignore[reportArgumentType]
    assert 'dataset["train"]' in str(caught.value.hint)


def test_a_row_in_memory_that_is_no_mapping_is_an_error() -> None:
    with pytest.raises(DataError, match="row 2: expected a mapping, got str"):
        list(open_source([PLAIN[0], "x"]).rows)  # pyright: ignore[reportArgumentType]


def test_a_string_or_a_path_names_a_source(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", PLAIN)
    assert open_source(path).spec == open_source(str(path)).spec == SourceSpec(str(path))


def test_a_path_that_exists_is_local_even_if_it_could_be_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "owner" / "name" / "a.jsonl", PLAIN)
    assert len(list(open_source(SourceSpec("owner/name")).rows)) == 2


@pytest.mark.parametrize("path", ["pairs", "a/b/c", "https://host/x", "owner/na me", "", "hf://datasets/o/n"])
def test_what_is_neither_there_nor_a_hub_id_is_an_error(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is neither an existing file or folder nor a Hub id"):
        open_source(SourceSpec(path))


def test_a_hub_id_goes_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match=r"nobody/nothing-here\.2: "):
        open_source(SourceSpec("nobody/nothing-here.2"))


def test_local_files_are_opened_without_the_libraries_for_hubs_and_tensors(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", PLAIN)
    program = (
        "import sys; from orpo.data import SourceSpec, read_examples\n"
        f"assert len(read_examples([SourceSpec({str(path)!r})], role='train')) == 2\n"
        "print([name for name in ('torch', 'datasets', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
