"""`orpo data check` finds every fault planted among a thousand good rows, and none in the good rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from orpo.quickstart.task import make_pairs
from tests.e2e.commands import HEAVY_MODULES, Outcome, Workspace, invoke, modules_loaded_by
from tests.paths import SHARED, needs_shared
from tests.trap_tokenizers import CHATML_LIKE, GEMMA_LIKE, UNCLOSED, UNSTABLE, byte_level

DATA = 3
GOOD_ROWS = 1000
BEFORE = 800
"""Good rows before the planted ones."""

Turns = list[dict[str, str]]
Row = dict[str, Turns]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def row(prompt: Turns, chosen: str, rejected: str) -> Row:
    """A row of the most usual shape: two conversations that differ in their last turn."""
    return {
        "chosen": [*prompt, turn("assistant", chosen)],
        "rejected": [*prompt, turn("assistant", rejected)],
    }


def good_rows(count: int = GOOD_ROWS) -> list[Row]:
    pairs = make_pairs(count, 0, "train")
    return [row([turn("user", p["prompt"])], p["chosen"], p["rejected"]) for p in pairs]


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Checked:
    """The outcome of a check with `--json`."""

    outcome: Outcome

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(self.outcome.out)

    @property
    def names(self) -> set[str]:
        return {finding["check"] for finding in self.record["findings"]}

    def lines(self, name: str) -> list[int]:
        """The lines of the examples of one finding, which are all that there are."""
        (finding,) = (finding for finding in self.record["findings"] if finding["check"] == name)
        assert finding["count"] == len(finding["examples"])
        return [int(example["where"].rpartition(":")[2]) for example in finding["examples"]]


def check(*arguments: str | Path) -> Checked:
    return Checked(invoke("data", "check", *arguments, "--json"))


# Faults in the text

FRENCH = "Bonjour, nous serons très heureux de préparer votre commande pour la fête de demain, à bientôt !"


def planted(good: Sequence[Row]) -> dict[str, Row]:
    """A row with each fault, by the name of the check that should find it."""

    def prompt(i: int) -> Turns:
        return good[i]["chosen"][:-1]

    def chosen(i: int) -> str:
        return good[i]["chosen"][-1]["content"]

    def rejected(i: int) -> str:
        return good[i]["rejected"][-1]["content"]

    reworded = good[6]["chosen"][0]["content"] + " Yes"
    two_turns = [turn("user", "Good morning."), *prompt(10)]
    other_history = [turn("user", "Good night."), turn("assistant", "Hello."), *prompt(11)]
    return {
        "dropped_identical_responses": row(prompt(1), chosen(1), chosen(1)),
        "dropped_empty_response": row(prompt(2), chosen(2), " "),
        "near_identical_responses": row(prompt(3), chosen(3), chosen(3).upper()),
        "swapped_pairs": row(prompt(4), rejected(4), chosen(4)),
        "duplicate_pairs": row(prompt(5), chosen(5), rejected(5)),
        "near_duplicate_pairs": row([turn("user", reworded)], chosen(6), rejected(6)),
        "dropped_prompts_differ_before_the_last_turn": {
            "chosen": [*other_history, turn("assistant", chosen(11))],
            "rejected": [turn("user", "Other."), *other_history[1:], turn("assistant", rejected(11))],
        },
        "roles_out_of_order": row(two_turns, "Good morning to you, too.", "What do you want?"),
        "dropped_last_turn_is_not_the_assistant_s": row([*prompt(12), turn("user", "?")], "", ""),
        "empty_turns": row([turn("user", "")], "Nobody asked, but our bread is fresh.", "What?"),
        "mojibake": row(
            [turn("user", "Two cafÃ© crÃ¨me for Zoe, on Monday.")], "Gladly, Zoe!", "No, go away."
        ),
        "control_characters": row(
            [turn("user", "Red \x1b[31m pie, please.")], "Gladly, of course!", "Go away."
        ),
        "template_tokens_in_text": row(
            [turn("user", "<|im_start|>user")], "That is no order, sorry.", "No, no."
        ),
        "other_languages": row([turn("user", "One cake for Marie on Sunday?")], FRENCH, "Non, merci."),
    }


def plant(good: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """The good rows with a bad one of each kind in between, and the line of each."""
    bad = planted(good)
    bad["dropped_last_turn_is_not_the_assistant_s"]["chosen"].pop()
    lines = {name: BEFORE + i for i, name in enumerate(bad, start=1)}
    return [*good[:BEFORE], *bad.values(), *good[BEFORE:]], lines


@pytest.fixture(scope="module")
def good_only(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    return check(write(tmp_path_factory.mktemp("good") / "rows.jsonl", good_rows()))


@pytest.fixture(scope="module")
def with_faults(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checked, dict[str, int]]:
    rows, lines = plant(good_rows())
    return check(write(tmp_path_factory.mktemp("bad") / "rows.jsonl", rows)), lines


FAULTS = list(planted(good_rows(20)))


def test_a_thousand_good_rows_have_nothing_fatal_and_no_fault_of_any_kind(good_only: Checked) -> None:
    assert good_only.outcome.code == 0, good_only.outcome.err
    assert good_only.record["fatal"] is False
    assert not good_only.names & set(FAULTS)
    assert good_only.record["parts"]["train"]["pairs"] == GOOD_ROWS


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_with_its_row_and_nothing_else_is_taken_for_it(
    with_faults: tuple[Checked, dict[str, int]], fault: str
) -> None:
    checked, lines = with_faults
    expected = [lines[fault]]
    if fault == "near_duplicate_pairs":
        expected = [lines["swapped_pairs"], lines[fault]]  # same texts, other order
    assert checked.lines(fault) == expected


def test_fourteen_bad_rows_in_a_thousand_are_not_fatal(with_faults: tuple[Checked, dict[str, int]]) -> None:
    assert with_faults[0].outcome.code == 0


# Faults in the tokens

NO_SYSTEM = "{{ bos_token }}" + CHATML_LIKE.replace(
    "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
)
UNSTABLE_WITH_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}" + UNSTABLE + "{% else %}" + CHATML_LIKE + "{% endif %}"
)


def save_tokenizer(folder: Path, template: str, *special: str) -> Path:
    tokenizer: PreTrainedTokenizerBase = byte_level(bos="<s>", special=special, template=template)
    tokenizer.save_pretrained(folder)
    return folder


def with_system(rows: Sequence[Row]) -> Row:
    """The first row with a system turn."""
    system = turn("system", "You are a baker by the harbour.")
    return {name: [system, *turns] for name, turns in rows[0].items()}


def token_faults(good: Sequence[Row]) -> dict[str, Row]:
    user = good[1]["chosen"][0]
    return {
        "system_turn_swallowed": with_system(good),
        "double_bos": row([turn("user", "<s>" + user["content"])], "Gladly.", "Never."),
        "end_of_turn_within_response": row([user], "Gladly.<|im_end|>\nAnd more.", "No, never."),
        "emptied_by_max_length": row([turn("user", "pie " * 900)], "Gladly.", "Never."),
        "cut_by_max_length": row([user], "Gladly. " * 400, "No, never."),
    }


@pytest.fixture(scope="module")
def with_token_faults(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    folder = tmp_path_factory.mktemp("tokens")
    good = good_rows()
    model = save_tokenizer(folder / "model", NO_SYSTEM, "<|im_start|>", "<|im_end|>")
    data = write(folder / "rows.jsonl", [*good, *token_faults(good).values()])
    return check(data, "--model", model, "--max-length", "500")


@pytest.mark.parametrize(
    ("fault", "line"), list(zip(token_faults(good_rows(20)), range(1001, 1100), strict=False))
)
def test_a_planted_fault_of_the_tokens_is_found_with_its_row(
    with_token_faults: Checked, fault: str, line: int
) -> None:
    assert with_token_faults.outcome.code == 0
    assert with_token_faults.lines(fault) == [line]


@pytest.mark.parametrize(
    ("fault", "template", "special", "code"),
    [
        ("template_not_prefix_stable", UNSTABLE_WITH_SYSTEM, ("<|im_start|>", "<|im_end|>"), DATA),
        ("dropped_as_tokens", GEMMA_LIKE, ("<start>", "<end>"), 0),
    ],
)
def test_a_row_that_breaks_the_template_is_found(
    tmp_path: Path, fault: str, template: str, special: tuple[str, ...], code: int
) -> None:
    good = good_rows(50)
    model = save_tokenizer(tmp_path / "model", template, *special)
    checked = check(write(tmp_path / "rows.jsonl", [*good, with_system(good)]), "--model", model)
    assert checked.outcome.code == code
    assert checked.lines(fault) == [51]


def test_a_template_that_does_not_close_turns_is_found(tmp_path: Path) -> None:
    model = save_tokenizer(tmp_path / "model", UNCLOSED)
    checked = check(write(tmp_path / "rows.jsonl", good_rows(50)), "--model", model)
    assert "template_without_end_of_turn" in checked.names


# Training and evaluation


def test_evaluation_prompts_that_were_trained_on_are_found_exact_and_near(tmp_path: Path) -> None:
    good = good_rows(120)
    train, held_out = good[:100], good[100:]
    asked = train[7]["chosen"][0]["content"]
    held_out[3] = row([turn("user", asked)], "Yes, gladly.", "No, never.")
    held_out[4] = row([turn("user", asked + " Thanks")], "Yes, gladly.", "No, never.")
    model = save_tokenizer(tmp_path / "model", CHATML_LIKE, "<|im_start|>", "<|im_end|>")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {model}\n"
        f"data:\n  train: {write(tmp_path / 'train.jsonl', train)}\n"
        f"  eval: {write(tmp_path / 'eval.jsonl', held_out)}\n"
        f"output: {tmp_path / 'run'}\n",
        encoding="utf-8",
    )
    checked = check(config)
    assert checked.outcome.code == 0, checked.outcome.err
    assert checked.lines("prompts_in_train_and_eval") == [4]
    assert checked.lines("near_prompts_in_train_and_eval") == [5]
    assert checked.record["settings"]["max_length"] == 2048


# Exit codes


@pytest.mark.parametrize(("limit", "code"), [((), DATA), (("--max-dropped", "0.3"), 0)])
def test_too_many_dropped_rows_are_fatal(tmp_path: Path, limit: tuple[str, ...], code: int) -> None:
    good = good_rows(100)
    for i in range(25):
        good[i]["rejected"] = good[i]["chosen"]
    checked = check(write(tmp_path / "rows.jsonl", good), *limit)
    assert checked.outcome.code == code
    assert ("too_many_dropped" in checked.names) is (code == DATA)


@pytest.mark.parametrize(
    "content", ["", "{", '{"a": 1}\n', '{"prompt": "x", "chosen": "", "rejected": ""}\n']
)
def test_what_cannot_be_read_is_fatal_and_the_report_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf-8")
    checked = check(path)
    assert checked.outcome.code == DATA
    assert checked.names == {"unreadable"}
    assert "Traceback" not in checked.outcome.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("nowhere.jsonl",), "no such file"),
        (("nowhere.yaml",), "no such file"),
        (("{rows}", "--html", "/nowhere/at/all.html"), "--html: cannot write /nowhere/at/all.html"),
        (("{rows}", "--model", "./nowhere"), "nowhere"),
        (("{rows}", "objective.name=kto"), "is no config, so there is nothing that 'objective.name=kto'"),
    ],
)
def test_a_mistake_in_the_command_is_one_message(
    tmp_path: Path, arguments: tuple[str, ...], part: str
) -> None:
    rows = write(tmp_path / "rows.jsonl", good_rows(10))
    outcome = invoke("data", "check", *(argument.format(rows=rows) for argument in arguments))
    assert outcome.code == 2
    assert "error: " in outcome.err
    assert part in outcome.err
    assert outcome.out == ""


def test_the_evaluation_of_a_workspace_is_examined_with_its_model(workspace: Workspace) -> None:
    checked = check(workspace.config)
    assert checked.outcome.code == 0
    assert checked.record["settings"]["model"] == str(workspace.folder / "model")
    assert list(checked.record["parts"]) == ["train", "eval"]


def test_a_config_is_examined_with_what_the_command_line_overrides(workspace: Workspace) -> None:
    checked = check(workspace.config, "data.max_length=30", "data.eval=null")
    assert checked.outcome.code == 0
    assert checked.record["settings"]["max_length"] == 30
    assert list(checked.record["parts"]) == ["train"]


# What is shown

HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egnirts [bold]b[/bold] "


def test_hostile_rows_are_inert_in_table_record_and_page(tmp_path: Path) -> None:
    name = "rows<script>\u202e.jsonl"
    rows = [row([turn("user", HOSTILE + str(i))], HOSTILE + "yes", HOSTILE + "YES") for i in range(10)]
    data, page = write(tmp_path / name, rows), tmp_path / "page.html"
    table = invoke("data", "check", data, "--html", page)
    record = invoke("data", "check", data, "--json")
    html = page.read_text(encoding="utf-8")
    for shown in (table.out, table.err, record.out, record.err, html):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "[bold]b[/bold]" in table.out
    assert json.loads(record.out)["findings"][0]["examples"]


def test_a_map_to_fill_in_keeps_its_form(tmp_path: Path) -> None:
    rows, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    rows.write_text(json.dumps({"query": "2 + 2 =", "good": "4", "bad": "5"}) + "\n", encoding="utf-8")
    table = invoke("data", "check", rows, "--html", page)
    assert table.code == DATA
    for shown in (table.out, page.read_text(encoding="utf-8")):
        lines = [line.strip(" ") for line in shown.splitlines()]
        at = lines.index("columns:")
        assert lines[at + 1].startswith("messages: query")
        assert lines[at + 2 : at + 4] == ["chosen: FILL_IN", "rejected: FILL_IN"]


def test_the_table_says_how_many_where_and_what_to_do(tmp_path: Path) -> None:
    good = good_rows(30)
    outcome = invoke("data", "check", write(tmp_path / "rows.jsonl", [*good, good[3]]))
    assert outcome.code == 0
    assert "WARNING duplicate_pairs (train): 1 of 31" in outcome.out
    assert "rows.jsonl:31" in outcome.out.replace("\n", "").replace(" ", "")
    assert "→ Keep one of them" in outcome.out
    assert "needs a model: --model" in outcome.out


# A fast start


@pytest.mark.parametrize("arguments", [["--help"], ["ROWS"]])
def test_nothing_imports_torch_without_a_model(tmp_path: Path, arguments: list[str]) -> None:
    rows = write(tmp_path / "rows.jsonl", good_rows(10))
    loaded = modules_loaded_by("data", "check", *(rows if one == "ROWS" else one for one in arguments))
    assert "orpo.cli.data" in loaded
    assert not loaded & HEAVY_MODULES


# Real data

REAL = {
    "hh_rlhf_harmless": ("hh_rlhf_harmless/train.jsonl", 1600),
    "alpaca_eval": ("alpaca_eval/train.jsonl", 4500),
    "autoj": ("autoj/testdata_pairwise.jsonl", 900),
    "pandalm": ("pandalm/testset-v1.json", 700),
    "llamafactory": ("llamafactory/dpo_en_demo.json", 280),
}


@cache
def check_real(name: str) -> Checked:
    return check(SHARED / "data" / name)


@needs_shared
@pytest.mark.parametrize(("name", "fewest"), REAL.values(), ids=REAL.keys())
def test_real_data_is_examined_in_reasonable_time_and_has_nothing_fatal(name: str, fewest: int) -> None:
    started = time.perf_counter()
    checked = check_real(name)
    assert time.perf_counter() - started < 30
    assert checked.outcome.code == 0, checked.outcome.out
    assert checked.record["parts"]["train"]["pairs"] >= fewest


@needs_shared
def test_the_longer_response_wins_86_percent_of_the_alpacaeval_sample() -> None:
    bias = check_real("alpaca_eval/train.jsonl").record["parts"]["train"]["length_bias"]
    assert bias["share"] == pytest.approx(0.865, abs=0.005)
