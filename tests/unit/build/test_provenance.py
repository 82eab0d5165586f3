from __future__ import annotations

from pathlib import Path

import pytest

from orpo.build.provenance import Naming, public_names
from orpo.data import RowCounts
from tests.conversations import pair


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a/pairs.jsonl", "b/pairs.jsonl", "c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_public_name_has_as_many_parts_of_the_path_as_tell_it_apart(here: Path) -> None:
    assert public_names([f"{here}/a/pairs.jsonl", "c.jsonl"]) == ["pairs.jsonl", "c.jsonl"]
    assert public_names(["a/pairs.jsonl", f"{here}/b/pairs.jsonl"]) == ["a/pairs.jsonl", "b/pairs.jsonl"]
    assert public_names(["owner/name", "a/pairs.jsonl"]) == ["owner/name", "pairs.jsonl"]
    assert public_names(["."]) == [here.name]


def test_one_source_twice_has_one_name(here: Path) -> None:
    assert public_names(["c.jsonl", f"{here}/c.jsonl"]) == ["c.jsonl", "c.jsonl"]


@pytest.mark.parametrize(
    ("path", "name", "where", "public"),
    [
        ("/home/me/a.jsonl", "a.jsonl", "/home/me/a.jsonl:7", "a.jsonl:7"),
        ("./x/../a.jsonl", "a.jsonl", "x/../a.jsonl:7", "a.jsonl:7"),
        ("/home/me/folder/", "folder", "/home/me/folder/in/a.jsonl:7", "folder/in/a.jsonl:7"),
        ("owner/name", "owner/name", "owner/name[train] row 7", "owner/name[train] row 7"),
    ],
)
def test_places_are_named_after_the_source(path: str, name: str, where: str, public: str) -> None:
    naming = Naming(path, name)
    found = naming.item(pair("p", where=where))
    assert (found.example.where, found.source) == (public, name)
    counts = RowCounts(read=3, examples={"tie": where})
    assert naming.counts(counts) == RowCounts(read=3, examples={"tie": public})
    assert counts.examples == {"tie": where}


def test_the_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert Naming("~/a.jsonl", "a.jsonl").public("/home/me/a.jsonl:7") == "a.jsonl:7"
