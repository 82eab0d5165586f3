from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orpo.chat.replies import Reply, ReplyStore, key_of
from orpo.errors import DataError, ResourceError

REPLY = Reply(text="VERDICT", finish="stop", prompt_tokens=3, completion_tokens=2)


def test_an_answer_is_there_in_the_next_process(tmp_path: Path) -> None:
    ReplyStore(tmp_path / "new" / "answers.jsonl").add("key", "judge", REPLY)
    store = ReplyStore(tmp_path / "new" / "answers.jsonl")
    assert store.get("key") == REPLY
    assert store.get("other") is None


def test_the_file_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    ReplyStore(path).add("a", "judge", REPLY)
    before = path.read_bytes()
    ReplyStore(path).add("b", "judge", REPLY)
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_breaks_off_costs_itself_only(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.jsonl"
    for key in ("a", "b"):
        ReplyStore(path).add(key, "judge", REPLY)
    path.write_bytes(path.read_bytes()[:-cut])
    with caplog.at_level(logging.WARNING, "orpo"):
        store = ReplyStore(path)
    assert store.get("a") == REPLY
    if cut > 1:  # with less only the end of the line is missing
        assert store.get("b") is None
        assert "1 damaged" in caplog.text
    store.add("c", "judge", REPLY)
    again = ReplyStore(path)
    assert again.get("a") == again.get("c") == REPLY


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    store = ReplyStore(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.add(str(n), "judge", Reply(text="x" * 5000 + str(n))), range(40)))
    again = ReplyStore(path)
    assert all((found := again.get(str(n))) and found.text.endswith(f"x{n}") for n in range(40))


def test_what_cannot_be_written_or_read_is_said(tmp_path: Path) -> None:
    store = ReplyStore(tmp_path / "later" / "answers.jsonl")
    (tmp_path / "later").write_text("a file where a folder should be")
    with pytest.raises(ResourceError, match="cannot be written"):
        store.add("a", "judge", REPLY)
    assert store.get("a") is None
    with pytest.raises(DataError, match="cannot be read"):
        ReplyStore(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        ("http://b", "judge", {"temperature": 0}, "prompt"),
        ("http://a", "other", {"temperature": 0}, "prompt"),
        ("http://a", "judge", {"temperature": 1}, "prompt"),
        ("http://a", "judge", {}, "prompt"),
        ("http://a", "judge", {"temperature": 0}, "prompts"),
    ],
)
def test_all_that_an_answer_depends_on_is_in_its_key(other: tuple[str, str, dict[str, int], str]) -> None:
    assert key_of("http://a", "judge", {"temperature": 0}, "prompt") != key_of(*other)


def test_the_order_of_parameters_is_not_in_the_key() -> None:
    assert key_of("u", "m", {"a": 1, "b": 2}, "p") == key_of("u", "m", {"b": 2, "a": 1}, "p")
