"""The page says what the directories hold, and nothing in them can do anything to it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orpo.report.page import LONGEST, as_page
from orpo.report.run import read_runs
from orpo.rundir.evaluations import EvaluationRecord
from tests.pages import ParsedPage, assert_self_contained
from tests.unit.report.evaluations import evaluate, record, responses
from tests.unit.report.runs import ASSESSMENT, CONFIG, FAILURE, HOSTILE, definition, make_run, source, summary

SIGN = {"name": "loss-spike", "step": 12, "message": "the loss is high", "advice": "Look at the rows."}
VOID = {"meta", "br", "wbr"}


def page_of(*paths: Path) -> str:
    return as_page(read_runs(paths))


def words(page: str) -> str:
    return " ".join(ParsedPage(page).text.split())


class Nesting(HTMLParser):
    """Fails at a tag that is closed in the wrong place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A page of one run that went well, one of a reward model, one of a failed run, and one of several."""
    folder = tmp_path_factory.mktemp("runs")
    changes = [{"step": 0, "tokens": 4096, "why": "speed cap"}, {"step": 7, "tokens": 2048, "why": "memory"}]
    more = summary(warnings=[SIGN], skipped_steps=[3, 9], resumed=[20], max_tokens=changes)
    commands = ["orpo train c.yaml output=good", "orpo train c.yaml output=good --resume auto"]
    good = make_run(folder / "good", ending=more, commands=commands)
    evaluate(good, record(), responses([["Hello there", "Hello again"], ["Yes"]]))
    reward = make_run(folder / "reward", ending=summary(assessment=ASSESSMENT))
    ending = summary(status="failed", steps=40, model_step=None)
    failed = make_run(folder / "failed", ending=ending, failure=FAILURE)
    other = make_run(folder / "other", data={"eval": [source("other.jsonl", "sha256:9")]})
    evaluate(other, record(0.65, settings={"temperature": 0.0}), responses([["Hello world"], ["No"]]))
    return {
        "good": page_of(good),
        "reward": page_of(reward),
        "failed": page_of(failed),
        "unfinished": page_of(other),
        "several": page_of(good, failed, other),
    }


KINDS = ["good", "reward", "failed", "unfinished", "several"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_needs_no_script_and_no_network_and_forbids_both(pages: dict[str, str], kind: str) -> None:
    assert_self_contained(pages[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_well_formed(pages: dict[str, str], kind: str) -> None:
    Nesting(pages[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_table_and_picture_says_what_it_is(pages: dict[str, str], kind: str) -> None:
    tags = ParsedPage(pages[kind]).tags
    names = [tag for tag, _ in tags]
    assert names.count("table") == names.count("caption") > 0
    images = [attributes for tag, attributes in tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(images) >= 11
    assert all(attributes["aria-label"] for attributes in images)
    assert all(a.get("aria-hidden") == "true" for tag, a in tags if tag == "svg" and "role" not in a)
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")


@pytest.mark.parametrize("kind", KINDS)
def test_headings_skip_no_level(pages: dict[str, str], kind: str) -> None:
    levels = [int(tag[1]) for tag, _ in ParsedPage(pages[kind]).tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_the_page_follows_the_readers_light_or_dark_and_can_be_printed(pages: dict[str, str]) -> None:
    assert "prefers-color-scheme: dark" in pages["good"]
    assert "@media print" in pages["good"]


SAID = {
    "what was trained on what": ("good", [
        "L = L_NLL + lambda * L_OR",
        "definition = paper, lambda = 0.1",
        "1,000,000 parameters",
        "train.jsonlprompt, chosen, rejectedsha256:1training1031003 identical responses",
        "7 response cut at max_length",
    ]),
    "how it was run": ("good", [
        "It was started with, and then gone on with: "
        "orpo train c.yaml output=good orpo train c.yaml output=good --resume auto",
        "objective.lambda0.1command line",
        "torch 2.13.0",
        "precision float32",
    ]),
    "how it went": ("good", [
        "✓ finished 40 steps, 1 min 34 s; model/ is of step 40.",
        "loss2.50001.8679-0.6321",
        "pair accuracy0.50000.7528+0.25280.660 to 0.827",
        "! warning loss-spike at step 12 the loss is high → Look at the rows.",
        "steps left out2, because their numbers were not finite: 3, 9",
        "resumedafter step 20",
        "4,096 from the start (speed cap); 2,048 after step 7 (memory)",
        "30.0 pairs and 9,000 tokens per second",
    ]),
    "what its evaluation says": ("good", [
        "all pairs400.70000.6500 to 0.7500",
        "source hard.jsonl200.60000.5500 to 0.6500",
        "longer response of 3 to 17 tokens400.7500",
        "share cut off at the limit0.25000.2000 to 0.3000BCa bootstrap over 40 prompts",
        "share without text0.0000–too few to tell",
        "similarity per input0.6200",
        "distinct-20.8000",
        "Embedder: hashed character n-grams; not comparable with the ORPO paper's figures.",
        "40 of 42 pairs from eval.jsonl; 2 empty response",
        "16: 2 to each of 8 prompts",
        "temperature 0.7",
        "orpo eval good --samples 4",
    ]),
    "what it says": ("good", [
        "Prompt 1 Prompt number 0? 2 tokens Hello there",
        "1 more sample Hello again",
    ]),
    "whether a reward model may judge": ("reward", [
        "✓ fit to judge Right on 70.0% of 60 held-out pairs",
        "“longer wins” is right on 55.0%",
        "70.0%75.0%0.531 to 0.88820",
        "Is it right as often as it says?",
    ]),
    "that a run has failed": ("failed", [
        "✗ failed: an error ended it 40 steps, 1 min 34 s; no model was saved.",
        "The numbers of step 41 were not finite",
        "Alone, 1 of its 2 rows are not finite: train.jsonl:7.",
        "train.jsonl:7prompt 3, chosen 4nan",
    ]),
    "that a run is unfinished": ("unfinished", [
        "… unfinished: there is no account of its end 40 steps.",
        "No process is working on it: it was killed.",
    ]),
    "what several runs share and do not share": ("several", [
        "3 training runs",
        "held-out datasha256:2sha256:2sha256:9",
        "figureA goodC other pair accuracy0.70000.6500 to 0.75000.6500",
        "The evaluations differ in their settings: max_length, samples, seed, temperature.",
        "A good 2 tokens Hello there",
        "C other 2 tokens Hello world",
    ]),
}  # fmt: skip
"""What pages say, of what kind, without their tags."""


@pytest.mark.parametrize(("kind", "said"), SAID.values(), ids=SAID.keys())
def test_the_page_tells(pages: dict[str, str], kind: str, said: list[str]) -> None:
    text = words(pages[kind])
    assert [phrase for phrase in said if phrase not in text] == []


def test_a_reward_model_that_values_all_alike_has_no_calibration(tmp_path: Path) -> None:
    found = ASSESSMENT | {"calibration": None, "fit_to_judge": False}
    text = words(page_of(make_run(tmp_path / "run", ending=summary(assessment=found))))
    assert "! not fit to judge" in text
    assert "nothing can be said of its calibration" in text


def test_a_run_that_is_going_on_is_shown_as_that(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "run.lock.json").write_text(json.dumps({"pid": 1, "since": "noon"}), encoding="utf-8")
    with (path / "timing.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step"')
    text = words(page_of(path))
    assert "A process has been working on it since noon: it is going on, or was killed." in text
    assert "The last line of timing.jsonl is half written and was left out." in text


def test_a_run_that_has_logged_nothing_is_shown(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    for name in ("metrics.jsonl", "timing.jsonl"):
        (path / name).unlink()
    page = page_of(path)
    Nesting(page)
    assert "Nothing is logged yet." in words(page)
    assert "There are no evaluations on held-out pairs." in words(page)


def test_several_runs_are_told_apart_and_compared(pages: dict[str, str]) -> None:
    page = pages["several"]
    assert words(page).count("! compare with care") == 3
    marks = [a["class"] for tag, a in ParsedPage(page).tags if tag == "line" and "x1" in a and a["x1"] == "1"]
    assert {f"series s{i}" for i in range(3)} <= set(marks)


HARMLESS = {"status": "finished", "of": record().of.model_dump()}
"""Of an evaluation, what has to be what it is."""


def hostile(value: Any) -> Any:
    """`value` with hostile text for all its texts but those that have to be what they are."""
    match value:
        case dict():
            return {key: hostile(child) for key, child in value.items()}
        case list():
            return [hostile(child) for child in value]
        case str():
            return HOSTILE
        case _:
            return value


def test_hostile_text_is_text(tmp_path: Path) -> None:
    ending = hostile(summary(warnings=[SIGN], assessment=ASSESSMENT)) | {"status": "failed"}
    counts = {"dropped": {HOSTILE: 1}, "notes": {HOSTILE: 1}, "left_out": {HOSTILE: 1}}
    changes = hostile(definition())
    changes["data"]["train"] = [hostile(source("a", "b")) | counts]
    changes["engine"] = {HOSTILE: HOSTILE}
    config = CONFIG + json.dumps(HOSTILE).replace("\\u202e", "\\u202E") + ': "<script>"  # <script>\n'
    path = make_run(
        tmp_path / "a<script>b", config=config, ending=ending, failure=hostile(FAILURE), **changes
    )
    other = make_run(tmp_path / "other")
    found = EvaluationRecord.model_validate(hostile(record().model_dump()) | HARMLESS)
    rows = responses([[HOSTILE * 200, HOSTILE]], [HOSTILE])
    for run in (path, other):
        evaluate(run, found, rows)
    for page in (page_of(path), page_of(path, other)):
        assert_self_contained(page)
        Nesting(page)
        assert "<script" not in page
        assert "onclick" not in {name for _, attributes in ParsedPage(page).tags for name in attributes}
        for character in "\x1b\u202e\x00\u2028":
            assert character not in page
        assert "<script>alert(1)</script>" in ParsedPage(page).text
        assert "a<script>b" in ParsedPage(page).text


def test_long_text_is_cut_and_the_cut_is_marked(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", model={"name": "x" * 10_000}))
    assert "x" * (LONGEST - 1) + "…" in page
    assert "x" * LONGEST not in page


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    token = "hf_" + "a" * 34
    assert token not in page_of(make_run(tmp_path / "run", config=CONFIG + f"note: {token}\n"))


def test_the_pictures_are_well_formed(pages: dict[str, str]) -> None:
    page = pages["several"]
    pictures = [part.partition("</svg>")[0] + "</svg>" for part in page.split("<svg ")[1:]]
    for picture in pictures:
        ET.fromstring("<svg " + picture)
