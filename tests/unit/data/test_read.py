"""From sources to pairs, every row accounted for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from orpo.data.pairs import Message, Pair, Prompt, Single
from orpo.data.read import read_examples
from orpo.data.shapes import Transcripts
from orpo.data.spec import MemorySource, Role, SourceSpec
from orpo.errors import ConfigError, DataError
from tests.datafiles import FORMATS, PLAIN, write_bytes, write_rows
from tests.paths import SHARED, needs_shared
from tests.preferences import pairs_of, singles_of

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
    table = read_examples([SourceSpec(str(path))], role="train")
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs_of(table)] == [
        tuple(row.values()) for row in PLAIN
    ]


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if "csv" not in ending])
def test_conversations_are_read_from_every_format_that_has_lists(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"a{ending}", CONVERSATIONS)
    table = read_examples([SourceSpec(str(path))], role="train")
    assert [pair.prompt for pair in table] == [(Message("user", "a?"),), (Message("user", "b?"),)]


def test_conversations_that_a_table_printed_into_csv_are_not_taken_for_text(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.csv", CONVERSATIONS)
    with pytest.raises(DataError, match="string that spells a list of messages"):
        read_examples([SourceSpec(str(path))], role="train")


def test_the_report_says_what_was_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_rows(tmp_path / "d" / f"{split}.jsonl", CONVERSATIONS)
    (report,) = read_examples([SourceSpec(str(tmp_path / "d"))], role="train").sources
    assert report.name == str(tmp_path / "d")
    assert (report.split, report.splits) == ("train", ("test", "train"))
    assert report.schema == "messages"
    assert report.detected == "messages (`chosen` and `rejected` are conversations)"
    assert report.unused_columns == ("score_chosen",)
    assert (report.counts.read, report.counts.kept) == (2, 2)
    assert report.fingerprint.startswith("sha256:")
    assert report.example == Pair((Message("user", "a?"),), "yes", "no", f"{tmp_path}/d/train.jsonl:1")


def test_every_row_is_kept_or_dropped_with_a_reason_and_the_first_place(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [{"rejected": " 4"}, {"chosen": None}, {"rejected": ""}, {"rejected": " 4"}]
    path = write_rows(tmp_path / "a.jsonl", [PLAIN[0], *(PLAIN[0] | change for change in bad), PLAIN[1]])
    table = read_examples([SourceSpec(str(path))], role="train")
    counts = table.counts
    assert (counts.read, counts.kept, len(table)) == (6, 2, 2)
    assert counts.dropped == {"identical responses": 2, "no value for `chosen`": 1, "empty response": 1}
    assert counts.examples == {
        "identical responses": f"{path}:2",
        "no value for `chosen`": f"{path}:3",
        "empty response": f"{path}:4",
    }


def test_rows_after_those_that_tell_the_schema_are_held_to_it() -> None:
    table = read_examples([PLAIN * 100 + [{"prompt": "a", "chosen": 1, "rejected": 2}] * 3], role="train")
    assert table.counts.dropped == {"text that is not a string": 3}
    assert table.counts.read == 203


def test_sources_follow_one_another_and_may_have_different_schemas(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", PLAIN)
    rows = [*CONVERSATIONS, CONVERSATIONS[0] | {"rejected": None}]
    table = read_examples([SourceSpec(str(path)), rows], role="train")
    assert [pair.where for pair in table] == [f"{path}:1", f"{path}:2", "row 1", "row 2"]
    assert [type(pair.prompt) for pair in table] == [str, str, tuple, tuple]
    assert [source.schema for source in table.sources] == ["strings", "messages"]
    assert (table.counts.read, table.counts.kept) == (5, 4)
    assert table.counts.examples == {"no value for `rejected`": "row 3"}


def test_rows_in_memory_are_known_by_their_pairs() -> None:
    first, second = (read_examples([rows], role="train").sources[0] for rows in (PLAIN, iter(PLAIN)))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint.startswith("sha256:")


def test_a_dataset_is_a_source() -> None:
    table = read_examples([datasets.Dataset.from_list(CONVERSATIONS)], role="train")
    assert [pair.where for pair in table] == ["row 1", "row 2"]
    assert table.sources[0].fingerprint.startswith("datasets:")


def test_no_sources_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there are no sources"):
        read_examples([], role="train")


def test_no_rows_in_memory_is_an_error() -> None:
    with pytest.raises(DataError, match="rows in memory: there are no rows"):
        read_examples([[]], role="train")


def test_a_source_without_one_usable_row_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "a.jsonl", [PLAIN[0] | {"rejected": " 4"}] * 2 + [PLAIN[0] | {"chosen": " "}]
    )
    with pytest.raises(DataError) as caught:
        read_examples([PLAIN, SourceSpec(str(path))], role="train")
    assert caught.value.message == (
        f"{path}: not one of 3 rows can be used; detected strings (`chosen` and `rejected` continue the "
        "text of `prompt`):\n"
        f"  2 identical responses (first: {path}:1)\n"
        f"  1 empty response (first: {path}:3)"
    )
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"prompt": "a", "completion": "b", "label": True}, "are for objective.name: kto"),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, "The first row of each reason"),
    ],
)
def test_what_to_do_about_rows_of_which_none_can_be_used(
    tmp_path: Path, row: dict[str, Any], hint: str
) -> None:
    path = write_rows(tmp_path / "a.jsonl", [row])
    with pytest.raises(DataError) as refused:
        read_examples([SourceSpec(str(path))], role="train")
    assert hint in (refused.value.hint or "")


def test_a_corrupt_line_stops_the_reading(tmp_path: Path) -> None:
    path = write_bytes(
        tmp_path / "a.jsonl", write_rows(tmp_path / "b.jsonl", PLAIN * 200).read_bytes() + b"{"
    )
    with pytest.raises(DataError, match=r"a\.jsonl:401: corrupt JSON"):
        read_examples([SourceSpec(str(path))], role="train")


@needs_shared
@pytest.mark.parametrize("transcripts", ["messages", "text"])
@pytest.mark.parametrize(
    ("name", "role", "rows", "bad"), [("train", "train", 1700, 3), ("eval", "eval", 300, 1)]
)
def test_hh_has_exactly_these_unusable_rows(
    name: str, role: Role, rows: int, bad: int, transcripts: Transcripts
) -> None:
    path = SHARED / "data" / "hh_rlhf_harmless" / f"{name}.jsonl"
    table = read_examples([SourceSpec(str(path))], role=role, transcripts=transcripts)
    counts = table.counts
    assert counts.dropped == {"prompts differ before the last turn": bad, "empty response": bad}
    assert (counts.read, counts.kept, len(table)) == (rows, rows - 2 * bad, rows - 2 * bad)
    assert table.sources[0].schema == "transcripts"
    assert table.sources[0].fingerprint == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(isinstance(pair.prompt, str) == (transcripts == "text") for pair in table)


@needs_shared
@pytest.mark.parametrize("role", ["train", "eval"])
def test_the_folder_of_hh_shows_its_splits(role: Role) -> None:
    folder = SHARED / "data" / "hh_rlhf_harmless"
    (report,) = read_examples([SourceSpec(str(folder))], role=role).sources
    assert report.split == role
    assert report.counts.kept == {"train": 1694, "eval": 298}[role]


def test_a_prompt_that_both_responses_repeat_is_dropped_and_not_read_twice() -> None:
    rows = [
        {"prompt": "Why?", "chosen": "Why? Because.", "rejected": "Why? No."},
        {"prompt": "Why?", "chosen": "Why? Because.", "rejected": " No."},
    ]
    table = read_examples([rows], role="train")
    assert (table.counts.read, table.counts.kept) == (2, 1)
    assert "read twice" in next(iter(table.counts.dropped))


@needs_shared
@pytest.mark.parametrize(
    ("name", "role", "schema", "pairs", "kept", "dropped"),
    [
        ("alpaca_eval/train.jsonl", "train", "AlpacaEval annotations", 4551, 4551, {}),
        ("alpaca_eval/eval.jsonl", "eval", "AlpacaEval annotations", 450, 450, {}),
        (
            "alpaca_eval/published/guanaco-65b.alpaca_eval_gpt4.json",
            "eval",
            "AlpacaEval annotations",
            805,
            805,
            {},
        ),
        (
            "autoj/testdata_pairwise.jsonl",
            "train",
            "Auto-J",
            1017,
            1017,
            {"tie": 373, "empty response": 1, "identical responses": 1},
        ),
        (
            "pandalm/testset-v1.json",
            "train",
            "PandaLM",
            836,
            836,
            {"tie": 105, "empty response": 52, "text that is not a string": 6},
        ),
        ("llamafactory/dpo_en_demo.json", "train", "ShareGPT pairs", 300, 300, {}),
        (
            "llamafactory/kto_en_demo.json",
            "train",
            "KTO conversations",
            1,
            2,
            {"unpaired: needs an objective that takes them": 298},
        ),
    ],
)
def test_real_files_load_with_exactly_these_counts(
    name: str, role: Role, schema: str, pairs: int, kept: int, dropped: dict[str, int]
) -> None:
    table = read_examples([SourceSpec(str(SHARED / "data" / name))], role=role)
    counts = table.counts
    assert (table.sources[0].schema, len(table), counts.kept) == (schema, pairs, kept)
    assert counts.dropped == dropped
    assert counts.read == kept + sum(dropped.values())


@needs_shared
def test_alpaca_eval_prefers_what_the_judge_preferred() -> None:
    path = SHARED / "data" / "alpaca_eval" / "eval.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    for row, pair in zip(rows, pairs_of(read_examples([SourceSpec(str(path))], role="eval")), strict=True):
        assert pair.prompt == (Message("user", row["instruction"]),)
        assert pair.chosen == row[f"output_{round(row['preference'])}"]


@needs_shared
def test_auto_j_and_panda_lm_prefer_what_people_preferred() -> None:
    """Each convention is read here in the words of its data set: index of the better one, vote by vote."""
    folder = SHARED / "data"
    lines = (folder / "autoj/testdata_pairwise.jsonl").read_text("utf-8").split("\n")
    auto_j = {
        f"{folder}/autoj/testdata_pairwise.jsonl:{number}": row[f"response {row['label'] + 1}"]
        for number, line in enumerate(filter(None, lines), 1)
        if (row := json.loads(line))["label"] != 2
    }
    panda_lm = {}
    for number, row in enumerate(json.loads((folder / "pandalm/testset-v1.json").read_text("utf-8")), 1):
        votes = sorted(row[f"annotator{i}"] for i in (1, 2, 3))
        if votes[1] in votes[::2] and votes[1] != 0:
            panda_lm[f"{folder}/pandalm/testset-v1.json row {number}"] = row[f"response{votes[1]}"]
    for expected, name in ((auto_j, "autoj/testdata_pairwise.jsonl"), (panda_lm, "pandalm/testset-v1.json")):
        pairs = pairs_of(read_examples([SourceSpec(str(folder / name))], role="train"))
        assert [pair.chosen for pair in pairs] == [expected[pair.where] for pair in pairs]


@needs_shared
def test_share_gpt_rows_keep_every_turn() -> None:
    path = SHARED / "data" / "llamafactory" / "dpo_en_demo.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    for row, pair in zip(rows, pairs_of(read_examples([SourceSpec(str(path))], role="train")), strict=True):
        assert [turn.content for turn in pair.prompt if not isinstance(turn, str)] == [
            turn["value"] for turn in row["conversations"]
        ]
        assert (pair.chosen, pair.rejected) == (row["chosen"]["value"], row["rejected"]["value"])


@needs_shared
def test_the_folder_of_alpaca_eval_needs_no_columns_either() -> None:
    (report,) = read_examples(
        [SourceSpec(str(SHARED / "data" / "alpaca_eval"), split="eval")], role="eval"
    ).sources
    assert (report.schema, report.counts.kept) == ("AlpacaEval annotations", 450)


@needs_shared
def test_the_real_labelled_rows_are_all_kept_where_unpaired_ones_are_wanted() -> None:
    path = SHARED / "data" / "llamafactory" / "kto_en_demo.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    table = read_examples([SourceSpec(str(path))], role="train", keep_unpaired=True)
    assert (table.counts.read, table.counts.kept, table.counts.dropped) == (300, 300, {})
    pair, *rest = table
    assert isinstance(pair, Pair)
    singles = singles_of(rest)
    assert Counter(single.is_desirable for single in singles) == {True: 149, False: 149}

    def key(messages: list[dict[str, str]]) -> str:
        return json.dumps([[turn["role"], turn["content"]] for turn in messages])

    assert Counter((key(row["messages"]), row["label"]) for row in rows) == Counter(
        (key([*map(vars, turns_of(one.prompt)), {"role": "assistant", "content": text}]), label)
        for one, text, label in [
            (pair, pair.chosen, True),
            (pair, pair.rejected, False),
            *((single, single.response, single.is_desirable) for single in singles),
        ]
    )


def turns_of(prompt: Prompt) -> tuple[Message, ...]:
    assert not isinstance(prompt, str)
    return prompt


PKU = {"prompt": "q", "response_0": "a", "response_1": "b"}
PKU |= {"better_response_id": 0, "safer_response_id": 1}


def test_rows_in_memory_are_read_with_the_options_of_a_source() -> None:
    spec = SourceSpec("anything", criterion="safer", where={"n": "> 1"}, columns={"weight": "n"})
    table = read_examples([MemorySource([PKU | {"n": n} for n in (1, 2, 3)], spec)], role="train")
    assert [(pair.chosen, pair.weight, pair.where) for pair in pairs_of(table)] == [
        ("b", 2.0, "row 2"),
        ("b", 3.0, "row 3"),
    ]
    assert table.sources[0].name == "rows in memory"
    assert table.sources[0].detected == "PKU-SafeRLHF (A/B with two labels), safer, weights in `n`"


def test_pairs_and_single_responses_are_read_side_by_side() -> None:
    table = read_examples([PLAIN, [{"prompt": "q", "completion": "a"}]], role="train")
    assert [type(example) for example in table] == [Pair, Pair, Single]


def test_a_folder_is_read_with_the_options_of_its_source(tmp_path: Path) -> None:
    rows = [{"q": "a", "yes": "b", "no": "c", "n": number} for number in range(3)]
    write_rows(tmp_path / "train.jsonl", rows)
    columns = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    table = read_examples([SourceSpec(str(tmp_path), columns=columns, where={"n": "> 0"})], role="train")
    assert [pair.where[-1] for pair in table] == ["2", "3"]
