"""What is built, from files as users have them to files that load everywhere."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict, load_dataset

from orpo.build import dataset
from orpo.build.clean import DUPLICATE, IDENTICAL_BUT_FOR_SPACE, SWAPPED
from orpo.build.dataset import NOT_USED, build_dataset
from orpo.build.options import Format, NearDuplicates
from orpo.build.request import Request
from orpo.build.split import NEARLY_SHARED, SHARED
from orpo.data import Pair, Single, SourceSpec, read_examples
from orpo.data.pairs import EMPTY_RESPONSE
from orpo.errors import ConfigError, DataError, ResourceError
from orpo.quickstart.task import make_pairs
from tests.datafiles import write_rows
from tests.unit.build.items import portion

QUESTION = "Please explain to me how the tides of the sea follow the moon around the whole earth every day"

Row = dict[str, Any]


def pairs(count: int) -> list[Row]:
    return [
        {key: row[key] for key in ("prompt", "chosen", "rejected")} for row in make_pairs(count, 0, "train")
    ]


def pair(prompt: str, chosen: str, rejected: str) -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def built(
    tmp_path: Path, train: list[Row], evaluation: list[Row] | float | None = None, **options: Any
) -> tuple[dict[str, Any], Path]:
    """The manifest and the folder of what is built of these rows."""
    source = write_rows(tmp_path / "train.jsonl", train)
    if isinstance(evaluation, list):
        held_out = (portion(write_rows(tmp_path / "test.jsonl", evaluation)),)
    else:
        held_out = evaluation
    request = Request(train=(portion(source),), eval=held_out, **options)
    return build_dataset(request, tmp_path / "out"), tmp_path / "out"


def test_planted_faults_are_counted_exactly_and_good_rows_are_kept(tmp_path: Path) -> None:
    good = pairs(200)
    empty = pair("p", "a", " ")
    spaced = {**good[5], "prompt": f"  {good[5]['prompt']}\n"}
    planted = [
        *(good[3], spaced, good[3]),
        *(pair("q", "a", "b"), pair("q", "b", "a"), pair("r", "x  y", "x y"), empty),
    ]
    manifest, out = built(tmp_path, [*good, *planted])
    source, cleaning = manifest["sources"][0], manifest["cleaning"]["train"]
    assert (source["read"], source["kept"], source["examples"]) == (207, 206, 206)
    assert source["dropped"] == {EMPTY_RESPONSE: {"count": 1, "first": "train.jsonl:207"}}
    assert (cleaning["read"], cleaning["kept"]) == (206, 200)
    assert cleaning["dropped"] == {
        DUPLICATE: {"count": 3, "first": "train.jsonl:201, as train.jsonl:4"},
        SWAPPED: {"count": 2, "first": "train.jsonl:204, against train.jsonl:205"},
        IDENTICAL_BUT_FOR_SPACE: {"count": 1, "first": "train.jsonl:206"},
    }
    found = rows_of(out / "train.jsonl")
    assert [{key: row[key] for key in good[0]} for row in found] == good
    assert [row["where"] for row in found] == [f"train.jsonl:{i}" for i in range(1, 201)]
    assert {row["source"] for row in found} == {"train.jsonl"}
    assert len({row["id"] for row in found}) == 200


def test_the_manifest_describes_the_files_that_are_there(tmp_path: Path) -> None:
    manifest, out = built(tmp_path, pairs(40), 0.25)
    assert sorted(path.name for path in out.iterdir()) == [
        *("README.md", "eval.jsonl", "manifest.json", "train.jsonl")
    ]
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8")) == manifest
    assert {name: file["rows"] for name, file in manifest["files"].items()} == {
        "train.jsonl": 30,
        "eval.jsonl": 10,
    }
    assert manifest["splits"]["eval"] == {
        "pairs": 10,
        "single_responses": 0,
        "prompts": 10,
        "near_duplicate_pairs": {"count": 0, "first": None},
    }


@pytest.mark.parametrize("form", list(Format))
def test_the_same_seed_writes_the_same_bytes_and_another_one_another_split(
    tmp_path: Path, form: Format
) -> None:
    source = write_rows(tmp_path / "train.jsonl", pairs(60))

    def build(name: str, seed: int) -> dict[str, bytes]:
        request = Request(train=(portion(source),), eval=0.2, seed=seed, format=form)
        build_dataset(request, tmp_path / name / "out")
        return {path.name: path.read_bytes() for path in (tmp_path / name / "out").iterdir()}

    first = build("a", 1)
    assert build("b", 1) == first
    other = build("c", 2)
    assert other[f"eval.{form}"] != first[f"eval.{form}"]
    assert len(other) == len(first) == 4


def test_of_two_parts_the_evaluation_stays_whole_and_training_gives_way(tmp_path: Path) -> None:
    train = [*pairs(20), pair("Why ?", "a", "b"), pair(QUESTION + " please", "a", "b")]
    evaluation = [pair(" Why ?", "c", "d"), pair(QUESTION, "c", "d")]
    manifest, out = built(tmp_path, train, evaluation)
    assert manifest["settings"]["eval"] == "sources"
    assert manifest["cleaning"]["train"]["dropped"] == {
        SHARED: {"count": 1, "first": "train.jsonl:21, as test.jsonl:1"},
        NEARLY_SHARED: {"count": 1, "first": "train.jsonl:22, nearly test.jsonl:2"},
    }
    assert manifest["cleaning"]["train"]["kept"] == 20
    assert len(rows_of(out / "train.jsonl")) == 20
    assert [row["where"] for row in rows_of(out / "eval.jsonl")] == ["test.jsonl:1", "test.jsonl:2"]


def test_nearly_evaluated_prompts_are_kept_on_request_and_counted(tmp_path: Path) -> None:
    train = [*pairs(20), pair(QUESTION + " please", "a", "b")]
    manifest, out = built(tmp_path, train, [pair(QUESTION, "c", "d")], near_duplicates=NearDuplicates.KEEP)
    assert manifest["cleaning"]["train"]["notes"] == {NEARLY_SHARED: 1}
    assert len(rows_of(out / "train.jsonl")) == 21


def test_nearly_repeated_pairs_within_a_split_are_reported_and_kept(tmp_path: Path) -> None:
    again = pair(QUESTION, f"{QUESTION} a", QUESTION.upper()[::-1])
    manifest, out = built(tmp_path, [*pairs(5), again, {**again, "chosen": f"{QUESTION} c"}])
    assert manifest["splits"]["train"]["near_duplicate_pairs"] == {"count": 1, "first": "train.jsonl:7"}
    assert len(rows_of(out / "train.jsonl")) == 7


def test_single_responses_have_files_of_their_own_and_the_folder_loads_everywhere(tmp_path: Path) -> None:
    both = pairs(30)
    alone = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in make_pairs(20, 1, "train")]
    sources = [
        write_rows(tmp_path / name, rows) for name, rows in (("pairs.jsonl", both), ("sft.jsonl", alone))
    ]
    manifest = build_dataset(
        Request(train=tuple(portion(path) for path in sources), eval=0.2), tmp_path / "out"
    )
    assert {name: file["rows"] for name, file in manifest["files"].items()} == {
        name: len(rows_of(tmp_path / "out" / name)) for name in manifest["files"]
    }
    assert set(manifest["files"]) == {"train.jsonl", "eval.jsonl", "train_sft.jsonl", "eval_sft.jsonl"}

    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded, DatasetDict)
    assert {name: len(split) for name, split in loaded.items()} == {
        "train": manifest["splits"]["train"]["pairs"],
        "eval": manifest["splits"]["eval"]["pairs"],
    }
    singles = load_dataset(str(tmp_path / "out"), "sft", cache_dir=str(tmp_path / "cache"))
    assert isinstance(singles, DatasetDict)
    assert len(singles["train"]) + len(singles["eval"]) == 20

    folder = str(tmp_path / "out")
    assert all(isinstance(example, Pair) for example in read_examples([folder], role="train"))
    assert len(read_examples([folder], role="eval")) == manifest["splits"]["eval"]["pairs"]
    ours = read_examples([SourceSpec(folder, split="train_sft")], role="train")
    assert all(isinstance(example, Single) for example in ours)


def test_several_sources_keep_their_names_and_what_each_was_read_as(tmp_path: Path) -> None:
    sources = [write_rows(tmp_path / name / "pairs.jsonl", pairs(20)[i::2]) for i, name in enumerate("ab")]
    portions = [portion(path, where={"prompt": "!= x"}) for path in sources]
    manifest = build_dataset(Request(train=tuple(portions), eval=None), tmp_path / "out")
    assert [source["name"] for source in manifest["sources"]] == ["a/pairs.jsonl", "b/pairs.jsonl"]
    assert [source["options"] for source in manifest["sources"]] == [{"where": {"prompt": "!= x"}}] * 2
    assert all(source["fingerprint"].startswith("sha256:") for source in manifest["sources"])
    assert rows_of(tmp_path / "out" / "train.jsonl")[-1]["where"] == "b/pairs.jsonl:10"
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert str(tmp_path).encode() not in written, "paths tell who worked where"


def test_weights_are_written_where_there_are_any(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{**row, "w": 2.0} for row in pairs(5)])
    weighted = portion(source, columns={"weight": "w"})
    build_dataset(Request(train=(weighted,), eval=None), tmp_path / "out")
    assert [row["weight"] for row in rows_of(tmp_path / "out" / "train.jsonl")] == [2.0] * 5


def test_margins_are_written_where_there_are_any_and_read_back_by_name(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{**row, "gap": 0.5} for row in pairs(5)])
    plain = write_rows(tmp_path / "plain.jsonl", [{"prompt": "p", "chosen": "x", "rejected": "y"}])
    given = (portion(source, columns={"margin": "gap"}), portion(plain))
    build_dataset(Request(train=given, eval=None), tmp_path / "out")
    written = tmp_path / "out" / "train.jsonl"
    assert [row["margin"] for row in rows_of(written)] == [0.5] * 5 + [0.0]
    table = read_examples([SourceSpec(str(written))], role="train")
    assert [example.margin for example in table if isinstance(example, Pair)] == [0.5] * 5 + [0.0]


def test_a_source_gives_as_much_as_its_weight_and_max_rows_allow(tmp_path: Path) -> None:
    sources = [write_rows(tmp_path / f"{name}.jsonl", pairs(40)[i::2]) for i, name in enumerate("ab")]
    portions = tuple(replace(portion(path), weight=one) for path, one in zip(sources, (3, 1), strict=True))
    limited = (replace(portions[0], max_rows=9), portions[1])
    manifest = build_dataset(Request(train=limited, eval=None), tmp_path / "out")
    cleaning = manifest["cleaning"]["train"]
    assert (cleaning["read"], cleaning["kept"]) == (40, 12)
    assert cleaning["dropped"][NOT_USED]["count"] == 28
    rows = rows_of(tmp_path / "out" / "train.jsonl")
    assert Counter(row["source"] for row in rows) == {"a.jsonl": 9, "b.jsonl": 3}
    assert [one["options"] for one in manifest["sources"]] == [{"weight": 3, "max_rows": 9}, {"weight": 1}]


def test_a_weight_for_one_source_only_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(4))
    with pytest.raises(ConfigError, match="every source of a list has a weight or none"):
        build_dataset(Request(train=(replace(portion(path), weight=1), portion(path))), tmp_path / "out")


# Refusals


def test_nothing_left_is_one_message_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one of 2 train examples is left") as refused:
        built(tmp_path, [pair("q", "a", "b"), pair("q", "b", "a")])
    assert f"2 {SWAPPED} (first: train.jsonl:1, against train.jsonl:2)" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_training_that_is_all_evaluated_is_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one of 1 train examples is left"):
        built(tmp_path, [pair("q", "a", "b")], [pair("q", "c", "d")])


def test_chats_beside_plain_text_are_refused(tmp_path: Path) -> None:
    chats = [{"messages": [{"role": "user", "content": "Q"}], "chosen": "a", "rejected": "b"}]
    sources = [
        write_rows(tmp_path / name, rows) for name, rows in (("a.jsonl", pairs(3)), ("b.jsonl", chats))
    ]
    with pytest.raises(DataError, match=r"b\.jsonl:1 is a chat, a\.jsonl:1 is plain text"):
        build_dataset(Request(train=tuple(portion(path) for path in sources)), tmp_path / "out")


def fails_on(calls: int, error: BaseException) -> Callable[..., None]:
    """A writer that breaks down at one of its files, half written."""
    seen: list[Path] = []

    def write(path: Path, *arguments: Any, **options: Any) -> None:
        seen.append(path)
        path.write_text("half")
        if len(seen) == calls:
            raise error

    return write


@pytest.mark.parametrize("call", [1, 2])
def test_a_full_disk_is_one_message_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(dataset, "write_items", fails_on(call, full))
    with pytest.raises(ResourceError, match="out cannot be written: No space left on device"):
        built(tmp_path, pairs(20), 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "write_items", fails_on(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, pairs(20), 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]
