"""From sources to pairs, every row accounted for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import datasets
import pytest

from orpo.data.pairs import Message, Pair
from orpo.data.read import read_pairs
from orpo.data.shapes import Shape, Transcripts
from orpo.data.spec import Role, SourceSpec
from orpo.errors import ConfigError, DataError
from tests.datafiles import FORMATS, PLAIN, write_bytes, write_rows
from tests.paths import SHARED, needs_shared

CONVERSATIONS = [
    {
        "prompt": question,
        "chosen": [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "user", "content": question}, {"role": "assistant", "content": "no"}],
        "score_chosen": 9.5,
    }
    for question in ("a?", "b?")
]


@pytest.mark.parametrize("ending", FORMATS)
def test_strings_are_read_from_every_format(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"a{ending}", PLAIN)
    table = read_pairs([SourceSpec(str(path))], role="train")
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in table] == [
        tuple(row.values()) for row in PLAIN
    ]


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if "csv" not in ending])
def test_conversations_are_read_from_every_format_that_has_lists(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"a{ending}", CONVERSATIONS)
    table = read_pairs([SourceSpec(str(path))], role="train")
    assert [pair.prompt for pair in table] == [(Message("user", "a?"),), (Message("user", "b?"),)]


def test_conversations_that_a_table_printed_into_csv_are_not_taken_for_text(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", CONVERSATIONS)
    with pytest.raises(DataError, match="string that spells a list of messages"):
        read_pairs([SourceSpec(str(path))], role="train")


def test_the_report_says_what_was_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_rows(tmp_path / "d" / f"{split}.jsonl", CONVERSATIONS)
    (report,) = read_pairs([SourceSpec(str(tmp_path / "d"))], role="train").sources
    assert report.name == str(tmp_path / "d")
    assert (report.split, report.splits) == ("train", ("test", "train"))
    assert report.shape is Shape.MESSAGES
    assert report.unused_columns == ("score_chosen",)
    assert (report.counts.read, report.counts.kept) == (2, 2)
    assert report.fingerprint.startswith("sha256:")
    assert report.example == Pair((Message("user", "a?"),), "yes", "no", f"{tmp_path}/d/train.jsonl:1")


def test_every_row_is_kept_or_dropped_with_a_reason_and_the_first_place(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [{"rejected": " 4"}, {"chosen": None}, {"rejected": ""}, {"rejected": " 4"}]
    path = write_rows(tmp_path / "a.jsonl", [PLAIN[0], *(PLAIN[0] | change for change in bad), PLAIN[1]])
    table = read_pairs([SourceSpec(str(path))], role="train")
    counts = table.counts
    assert (counts.read, counts.kept, len(table)) == (6, 2, 2)
    assert counts.dropped == {"identical responses": 2, "no value for `chosen`": 1, "empty response": 1}
    assert counts.examples == {
        "identical responses": f"{path}:2",
        "no value for `chosen`": f"{path}:3",
        "empty response": f"{path}:4",
    }


def test_rows_after_those_that_tell_the_shape_are_held_to_it() -> None:
    table = read_pairs([PLAIN * 100 + [{"prompt": "a", "chosen": 1, "rejected": 2}] * 3], role="train")
    assert table.counts.dropped == {"text that is not a string": 3}
    assert table.counts.read == 203


def test_sources_follow_one_another_and_may_have_different_shapes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", PLAIN)
    rows = [*CONVERSATIONS, CONVERSATIONS[0] | {"rejected": None}]
    table = read_pairs([SourceSpec(str(path)), rows], role="train")
    assert [pair.where for pair in table] == [f"{path}:1", f"{path}:2", "row 1", "row 2"]
    assert [type(pair.prompt) for pair in table] == [str, str, tuple, tuple]
    assert [source.shape for source in table.sources] == [Shape.STRINGS, Shape.MESSAGES]
    assert (table.counts.read, table.counts.kept) == (5, 4)
    assert table.counts.examples == {"no value for `rejected`": "row 3"}


def test_rows_in_memory_are_known_by_their_pairs() -> None:
    first, second = (read_pairs([rows], role="train").sources[0] for rows in (PLAIN, iter(PLAIN)))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint.startswith("sha256:")


def test_a_dataset_is_a_source() -> None:
    table = read_pairs([datasets.Dataset.from_list(CONVERSATIONS)], role="train")
    assert [pair.where for pair in table] == ["row 1", "row 2"]
    assert table.sources[0].fingerprint.startswith("datasets:")


def test_no_sources_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there are no sources"):
        read_pairs([], role="train")


def test_no_rows_in_memory_is_an_error() -> None:
    with pytest.raises(DataError, match="rows in memory: there are no rows"):
        read_pairs([[]], role="train")


def test_a_source_without_one_usable_row_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "a.jsonl", [PLAIN[0] | {"rejected": " 4"}] * 2 + [PLAIN[0] | {"chosen": " "}]
    )
    with pytest.raises(DataError) as caught:
        read_pairs([PLAIN, SourceSpec(str(path))], role="train")
    assert str(caught.value) == (
        f"{path}: not one of 3 rows (strings) can be used:\n"
        f"  2 identical responses (first: {path}:1)\n"
        f"  1 empty response (first: {path}:3)"
    )
    assert caught.value.exit_code == 3


def test_a_corrupt_line_stops_the_reading(tmp_path: Path) -> None:
    path = write_bytes(
        tmp_path / "a.jsonl", write_rows(tmp_path / "b.jsonl", PLAIN * 200).read_bytes() + b"{"
    )
    with pytest.raises(DataError, match=r"a\.jsonl:401: corrupt JSON"):
        read_pairs([SourceSpec(str(path))], role="train")


@needs_shared
@pytest.mark.parametrize("transcripts", ["messages", "text"])
@pytest.mark.parametrize(
    ("name", "role", "rows", "bad"), [("train", "train", 1700, 3), ("eval", "eval", 300, 1)]
)
def test_hh_has_exactly_these_unusable_rows(
    name: str, role: Role, rows: int, bad: int, transcripts: Transcripts
) -> None:
    path = SHARED / "data" / "hh_rlhf_harmless" / f"{name}.jsonl"
    table = read_pairs([SourceSpec(str(path))], role=role, transcripts=transcripts)
    counts = table.counts
    assert counts.dropped == {"prompts differ before the last turn": bad, "empty response": bad}
    assert (counts.read, counts.kept, len(table)) == (rows, rows - 2 * bad, rows - 2 * bad)
    assert table.sources[0].shape is Shape.TRANSCRIPTS
    assert table.sources[0].fingerprint == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(isinstance(pair.prompt, str) == (transcripts == "text") for pair in table)


@needs_shared
@pytest.mark.parametrize("role", ["train", "eval"])
def test_the_folder_of_hh_shows_its_splits(role: Role) -> None:
    folder = SHARED / "data" / "hh_rlhf_harmless"
    (report,) = read_pairs([SourceSpec(str(folder))], role=role).sources
    assert report.split == role
    assert report.counts.kept == {"train": 1694, "eval": 298}[role]


def test_a_prompt_that_both_responses_repeat_is_dropped_and_not_read_twice() -> None:
    rows = [
        {"prompt": "Why?", "chosen": "Why? Because.", "rejected": "Why? No."},
        {"prompt": "Why?", "chosen": "Why? Because.", "rejected": " No."},
    ]
    table = read_pairs([rows], role="train")
    assert (table.counts.read, table.counts.kept) == (2, 1)
    assert "read twice" in next(iter(table.counts.dropped))
