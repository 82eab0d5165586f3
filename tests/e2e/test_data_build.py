"""`orpo data build`: the real files become clean pairs, as many as a count of its own says."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orpo.data import Pair, hold_out, read_examples
from orpo.doctor.duplicates import exact_duplicates, near_shared_prompts, shared_prompts
from orpo.doctor.responses import swapped
from tests.e2e.commands import ENVIRONMENT, HEAVY_MODULES, ORPO, Outcome, invoke, modules_loaded_by
from tests.paths import SHARED, needs_shared

DATA, CONFIG, RESOURCES = 3, 2, 6

Row = dict[str, Any]


def build(*arguments: str | Path) -> Outcome:
    return invoke("data", "build", *arguments)


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sums(count: int) -> list[Row]:
    return [{"prompt": f"{i} + 1 =", "chosen": f" {i + 1}", "rejected": " 0"} for i in range(count)]


# Real data, counted independently


@dataclass(frozen=True)
class Judged:
    """Two responses and which one is better: 0, 1, or None for neither."""

    prompt: str
    responses: tuple[Any, Any]
    better: int | None


def autoj() -> Iterator[Judged]:
    for row in lines(SHARED / "data/autoj/testdata_pairwise.jsonl"):
        yield Judged(
            row["prompt"], (row["response 1"], row["response 2"]), {0: 0, 1: 1, 2: None}[row["label"]]
        )


def alpaca_eval(name: str) -> Iterator[Judged]:
    for row in json.loads((SHARED / "data/alpaca_eval/published" / name).read_text(encoding="utf-8")):
        preference = row["preference"]
        better = None if preference in (0, 1.5) else int(preference > 1.5)
        yield Judged(row["instruction"], (row["output_1"], row["output_2"]), better)


def pandalm() -> Iterator[Judged]:
    for row in json.loads((SHARED / "data/pandalm/testset-v1.json").read_text(encoding="utf-8")):
        vote, number = Counter(row[f"annotator{i}"] for i in (1, 2, 3)).most_common(1)[0]
        assert number >= 2, "there is a majority in every row"
        prompt = "\n\n".join(part for part in (row["instruction"], row["input"]) if part.strip())
        yield Judged(prompt, (row["response1"], row["response2"]), {0: None, 1: 0, 2: 1}[vote])


def llamafactory_pairs() -> Iterator[Judged]:
    for row in json.loads((SHARED / "data/llamafactory/dpo_en_demo.json").read_text(encoding="utf-8")):
        prompt = "\n\n".join(f"{turn['from']}: {turn['value']}" for turn in row["conversations"])
        yield Judged(prompt, (row["chosen"]["value"], row["rejected"]["value"]), 0)


def llamafactory_labelled() -> Iterator[Judged]:
    """The only prompt with a good and a bad answer makes a pair; the others are of no use."""
    answers: dict[str, dict[bool, str]] = {}
    for row in json.loads((SHARED / "data/llamafactory/kto_en_demo.json").read_text(encoding="utf-8")):
        *prompt, answer = (turn["content"] for turn in row["messages"])
        answers.setdefault("\n\n".join(prompt), {})[row["label"]] = (
            answer["content"] if isinstance(answer, dict) else answer
        )
    for prompt, by_label in answers.items():
        if len(by_label) == 2:
            yield Judged(prompt, (by_label[True], by_label[False]), 0)


GUANACO = "guanaco-65b.alpaca_eval_gpt4.json"
PHI = "phi-2-sft.weighted_alpaca_eval_gpt4_turbo.json"
SOURCES = (
    "autoj/testdata_pairwise.jsonl",
    f"alpaca_eval/published/{GUANACO}",
    f"alpaca_eval/published/{PHI}",
    "pandalm/testset-v1.json",
    "llamafactory/dpo_en_demo.json",
    "llamafactory/kto_en_demo.json",
)


def judged() -> Iterator[Judged]:
    yield from autoj()
    yield from alpaca_eval(GUANACO)
    yield from alpaca_eval(PHI)
    yield from pandalm()
    yield from llamafactory_pairs()
    yield from llamafactory_labelled()


@cache
def expected() -> Counter[str]:
    """What becomes of every judgement, by words of our own."""
    found: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    for one in judged():
        texts = one.responses
        if one.better is None:
            found["tie"] += 1
        elif not all(isinstance(text, str) for text in texts):
            found["no text"] += 1
        elif not all(text.strip() for text in texts):
            found["empty"] += 1
        elif texts[0] == texts[1]:
            found["identical"] += 1
        else:
            better, worse = (squeezed(texts[i]) for i in (one.better, 1 - one.better))
            if better == worse:
                found["identical but for space"] += 1
            elif (key := (squeezed(one.prompt), better, worse)) in seen:
                found["duplicate"] += 1
            else:
                seen.add(key)
    swapped = sum((prompt, worse, better) in seen for prompt, better, worse in seen)
    return found + Counter({"swapped": swapped, "pairs": len(seen) - swapped})


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@dataclass(frozen=True)
class Built:
    outcome: Outcome
    folder: Path

    @property
    def manifest(self) -> Row:
        return json.loads(self.outcome.out)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All real files that are no training data of their own, as one data set."""
    folder = tmp_path_factory.mktemp("real") / "out"
    sources = [SHARED / "data" / name for name in SOURCES]
    return Built(build(*sources, "--output", folder, "--eval", "0.3", "--json"), folder)


@needs_shared
def test_the_real_files_make_as_many_pairs_as_an_independent_count_says(real: Built) -> None:
    assert real.outcome.code == 0, real.outcome.err
    assert expected() == {
        "tie": 478,
        "empty": 53,
        "identical": 1,
        "no text": 6,
        "duplicate": 81,
        "identical but for space": 2,
        "swapped": 2,
        "pairs": 3679,
    }
    dropped: Counter[str] = Counter()
    for account in (*real.manifest["sources"], *real.manifest["cleaning"].values()):
        dropped += Counter({reason: one["count"] for reason, one in account["dropped"].items()})
    assert dropped == {
        "tie": expected()["tie"],
        "empty response": expected()["empty"],
        "identical responses": expected()["identical"],
        "text that is not a string": expected()["no text"],
        "unpaired: needs an objective that takes them": 298,
        "duplicate of an earlier example": expected()["duplicate"],
        "identical responses but for white space": expected()["identical but for space"],
        "the same pair is there the other way round": expected()["swapped"],
    }
    assert sum(split["pairs"] for split in real.manifest["splits"].values()) == expected()["pairs"]


@needs_shared
def test_every_row_of_the_real_files_is_accounted_for(real: Built) -> None:
    for source in real.manifest["sources"]:
        assert source["read"] == source["kept"] + sum(one["count"] for one in source["dropped"].values())
    cleaning = real.manifest["cleaning"]["train"]
    assert cleaning["read"] == sum(source["examples"] for source in real.manifest["sources"])
    assert cleaning["read"] == cleaning["kept"] + sum(one["count"] for one in cleaning["dropped"].values())
    assert cleaning["kept"] == sum(file["rows"] for file in real.manifest["files"].values())


@needs_shared
def test_provenance_leads_back_to_the_text(real: Built) -> None:
    rows = [row for row in lines(real.folder / "eval.jsonl") if row["source"] == "testdata_pairwise.jsonl"]
    source = lines(SHARED / "data/autoj/testdata_pairwise.jsonl")
    assert len(rows) > 10
    for row in rows:
        found = source[int(row["where"].removeprefix("testdata_pairwise.jsonl:")) - 1]
        assert row["prompt"] == [{"role": "user", "content": found["prompt"]}]
        better, worse = ("response 1", "response 2") if found["label"] == 0 else ("response 2", "response 1")
        assert row["chosen"] == [{"role": "assistant", "content": found[better]}]
        assert row["rejected"] == [{"role": "assistant", "content": found[worse]}]


Runs = frozenset[tuple[str, ...]]


def runs_of_words(row: Row) -> Runs:
    """The runs of three words of a prompt; none of a few words."""
    words = re.findall(r"\w+", " ".join(turn["content"] for turn in row["prompt"]).casefold())
    return frozenset(zip(words, words[1:], words[2:], strict=False)) if len(words) >= 8 else frozenset()


def most_alike(first: set[Runs], second: set[Runs]) -> float:
    """The greatest Jaccard similarity of one of the first and one of the second, exactly."""
    holders: dict[tuple[str, ...], list[Runs]] = {}
    for runs in first:
        for run in runs:
            holders.setdefault(run, []).append(runs)
    shared = (Counter(a for run in b for a in holders.get(run, ())) for b in second)
    return max(
        n / (len(a) + len(b) - n) for b, found in zip(second, shared, strict=True) for a, n in found.items()
    )


@needs_shared
def test_no_prompt_of_the_real_files_is_in_both_splits_exactly_or_nearly(real: Built) -> None:
    """Every training prompt against every evaluation prompt, by words and not by hashes."""
    train, evaluation = (lines(real.folder / f"{use}.jsonl") for use in ("train", "eval"))
    texts = [{squeezed(json.dumps(row["prompt"])) for row in rows} for rows in (train, evaluation)]
    assert not texts[0] & texts[1]
    runs = [{runs_of_words(row) for row in rows} for rows in (train, evaluation)]
    assert min(map(len, runs)) > 500
    assert most_alike(*runs) < 0.8
    by_chance = hold_out(
        [squeezed(json.dumps(row["prompt"])).encode() for row in (*train, *evaluation)], 0.3, 42
    )
    parts = [{runs_of_words([*train, *evaluation][i]) for i in part} for part in by_chance]
    assert most_alike(*parts) >= 0.8, "a split that looks at equal prompts only does not do it"


@needs_shared
def test_the_doctor_finds_no_prompt_in_both_splits_and_nothing_twice_or_swapped(real: Built) -> None:
    train, evaluation = (
        [one for one in read_examples([str(real.folder)], role=use) if isinstance(one, Pair)]
        for use in ("train", "eval")
    )
    assert shared_prompts(train, evaluation) == near_shared_prompts(train, evaluation) == []
    for pairs in (train, evaluation):
        assert exact_duplicates(pairs) == swapped(pairs) == []


# What is said


def test_the_summary_is_for_people_and_the_manifest_for_programs(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", [*sums(40), sums(40)[7]])
    outcome = build(rows, "--output", tmp_path / "out", "--eval", "0.25", "--seed", "3", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == json.loads((tmp_path / "out/manifest.json").read_text())
    assert "41  train: rows of rows.jsonl" in outcome.err
    assert " 1    dropped: duplicate of an earlier example (first: rows.jsonl:41, as" in outcome.err
    assert "10  eval: pairs written" in outcome.err
    plain = build(rows, "--output", tmp_path / "other")
    assert plain.out == ""
    assert "train: pairs written" in plain.err


def test_a_config_is_built_as_its_run_would_read_it(tmp_path: Path) -> None:
    train, evaluation = write(tmp_path / "a.jsonl", sums(20)), write(tmp_path / "b.jsonl", sums(25)[18:])
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: x\noutput: y\n"
        f"data:\n  train: {{path: {train}, where: {{chosen: '!= 1'}}}}\n  eval: {evaluation}\n"
    )
    outcome = build(config, "--output", tmp_path / "out", "--json")
    manifest = json.loads(outcome.out)
    assert {use: split["pairs"] for use, split in manifest["splits"].items()} == {"train": 17, "eval": 7}
    assert manifest["cleaning"]["train"]["dropped"]["prompt is one of the evaluation's"]["count"] == 2


def test_ratings_are_paired_as_the_options_say(tmp_path: Path) -> None:
    rated = [
        {
            "instruction": f"Question {i}?",
            "completions": [{"response": f"{i} {s}", "overall_score": s} for s in (1, 2, 5)],
        }
        for i in range(10)
    ]
    rows = write(tmp_path / "rated.jsonl", rated)
    options = ("--policy", "all-above-margin", "--min-margin", "2", "--eval", "0", "--format", "parquet")
    manifest = json.loads(build(rows, "--output", tmp_path / "out", *options, "--json").out)
    assert manifest["files"]["train.parquet"]["rows"] == 20
    assert manifest["sources"][0]["options"] == {"policy": "all-above-margin", "min_margin": 2.0}
    better = {
        example.chosen[-1]
        for example in read_examples([str(tmp_path / "out")], role="train")
        if isinstance(example, Pair)
    }
    assert better == {"5"}


# What is refused


TWO_LABELS = {
    "prompt": "Q",
    "response_0": "a",
    "response_1": "b",
    "better_response_id": 0,
    "safer_response_id": 1,
}


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["nowhere.jsonl"], CONFIG, ["no such file or folder: nowhere.jsonl"]),
        (["{two}"], DATA, ["`better`, `safer`"]),
        (["{two}", "--criterion", "safest"], CONFIG, ["expected one of `better`, `safer`"]),
        (["{sums}", "--policy", "x"], CONFIG, ["expected one of `best-vs-worst`"]),
        (["{sums}", "--eval", "1"], CONFIG, ["expected a number between 0 and 1, got 1.0"]),
        (["{sums}", "run.yaml"], CONFIG, ["run.yaml: a config stands alone, got 2 arguments"]),
        (["{sums}", "--output", "{full}"], CONFIG, ["already holds files", "--output DIR"]),
        (["{sums}", "--output", "{sums}"], CONFIG, ["is a file", "--output DIR"]),
        (["{sums}", "--output", "/proc/orpo"], RESOURCES, ["/proc/orpo cannot be written"]),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    places = {
        "sums": write(tmp_path / "sums.jsonl", sums(10)),
        "two": write(tmp_path / "two.jsonl", [TWO_LABELS]),
        "full": full,
    }
    before = sorted(tmp_path.rglob("*"))
    output = () if "--output" in arguments else ("--output", tmp_path / "out")
    outcome = build(*(argument.format(**places) for argument in arguments), *output)
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    for part in ("error: ", *parts):
        assert part in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


def test_two_criteria_are_built_once_one_is_chosen(tmp_path: Path) -> None:
    rows = write(tmp_path / "two.jsonl", [{**TWO_LABELS, "prompt": f"Q{i}"} for i in range(4)])
    for criterion, chosen in (("better", "a"), ("safer", "b")):
        out = tmp_path / criterion
        assert build(rows, "--output", out, "--criterion", criterion, "--eval", "0").code == 0
        assert {row["chosen"][0]["content"] for row in lines(out / "train.jsonl")} == {chosen}


def test_a_file_that_the_system_will_not_write_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", sums(2000))
    command = f"ulimit -f 20; exec {ORPO} data build {rows} --output {tmp_path}/out"
    done = subprocess.run(
        ["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == RESOURCES, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egnirts [bold]b[/bold] | `x`"


def test_hostile_text_is_kept_in_the_rows_and_inert_everywhere_else(tmp_path: Path) -> None:
    name = "rows<script>\u202e|.jsonl"
    rows = [{"prompt": f"{HOSTILE} {i}", "chosen": HOSTILE, "rejected": "x"} for i in range(10)]
    source = write(tmp_path / name, [*rows, rows[0]])
    outcome = build(source, "--output", tmp_path / "out", "--eval", "0", "--json")
    assert [row["prompt"] for row in lines(tmp_path / "out/train.jsonl")] == [row["prompt"] for row in rows]
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    for shown in (outcome.err, outcome.out, card):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script" not in card
    assert "rows&lt;script>�\\|.jsonl" in card


def test_nothing_imports_torch(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", sums(10))
    loaded = modules_loaded_by("data", "build", rows, "--output", tmp_path / "out", "--eval", "0.5")
    assert "orpo.build.dataset" in loaded
    assert not loaded & HEAVY_MODULES
