"""The quickstart's generator and checker agree, are stable, and keep evaluation apart."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from orpo.quickstart.task import (
    DAYS,
    FLAWS,
    GOOD_SHARE,
    NAMES,
    TREATS,
    Split,
    check,
    make_pairs,
    make_prompts,
    pretraining_text,
)

PROMPT = "Guest: This is Mira. Could you bake two lemon tarts and one plum strudel for Friday?\nBaker:"


def order(prompt: str) -> tuple[str, frozenset[tuple[str, str]], str]:
    """The guest, the counted treats and the day of a request, read without the module's own parser."""
    (name,) = re.findall("|".join(rf"\b{name}\b" for name in NAMES), prompt)
    (day,) = re.findall("|".join(DAYS), prompt)
    treats = [(count.lower(), treat) for count, treat in re.findall(rf"(\w+) ({'|'.join(TREATS)})", prompt)]
    assert len(treats) == 2
    return name, frozenset(treats), day


def dialogues(documents: int) -> list[tuple[str, str]]:
    """(prompt, answer) of each document of the pretraining text."""
    parts = (text.partition("\nBaker:") for text in pretraining_text(documents, 0))
    return [(request + label, answer) for request, label, answer in parts]


@pytest.mark.parametrize(
    "answer",
    [
        " With pleasure, Mira! Two lemon tarts and one plum strudel will be ready on Friday.",
        " Gladly, Mira: come by on Friday for one plum strudel and two lemon tarts.",
        " You can fetch two lemon tarts and one plum strudel on Friday. Many thanks, Mira!",
    ],
)
def test_a_good_answer_passes_in_any_wording(answer: str) -> None:
    verdict = check(PROMPT, answer)
    assert verdict.ok
    assert verdict.reason == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "breaks off"),
        (" Gladly, Mira! Two lemon tarts and one plum strudel will be ready on", "breaks off"),
        (
            " Gladly, Nora! Two lemon tarts and one plum strudel will be ready on Friday.",
            "greets Nora, not Mira",
        ),
        (" Gladly! Two lemon tarts and one plum strudel will be ready on Friday.", "leaves out Mira"),
        (" Gladly, Mira! Come by on Friday. Many thanks, Mira!", "repeats Mira"),
        (
            " Gladly, Mira! Three lemon tarts and one plum strudel will be ready on Friday.",
            "says three lemon tarts, not two lemon tarts",
        ),
        (" Gladly, Mira! Two lemon tarts will be ready on Friday.", "forgets one plum strudel"),
        (
            " Gladly, Mira! Two lemon tarts, six honey buns and one plum strudel will be ready on Friday.",
            "adds six honey buns",
        ),
        (
            " Gladly, Mira! Two lemon tarts, two lemon tarts and one plum strudel will be ready on Friday.",
            "adds two lemon tarts",
        ),
        (" Gladly, Mira! Two lemon tarts and one strudel will be ready on Friday.", "garbles the order"),
        (" Gladly, Mira! Two lemon tart and one plum strudels will be ready on Friday.", "garbles the order"),
        (
            " Gladly, Mira! Two lemon tarts and one plum strudel will be ready on Monday.",
            "promises Monday, not Friday",
        ),
        (" Gladly, Mira! Two lemon tarts and one plum strudel will be ready.", "leaves out Friday"),
        (" Fine, Mira! Two lemon tarts and one plum strudel will be ready on Friday.", "grumbles"),
        (" Mira! Two lemon tarts and one plum strudel will be ready on Friday.", "is not polite"),
        (
            " Gladly, Mira! Two lemon tarts and one plum strudel will be ready on Friday."
            " The radio plays the same song all day.",
            "wanders off",
        ),
        (
            " Gladly, Mira! Two lemon tarts and one plum strudel will be be ready on Friday.",
            "stutters",
        ),
        (
            " Gladly, Mira! Two lemon tarts and one plum strudel will be raddy on Friday.",
            "says 'raddy', which is no word here",
        ),
    ],
)
def test_each_broken_rule_is_named(answer: str, reason: str) -> None:
    verdict = check(PROMPT, answer)
    assert not verdict.ok
    assert verdict.reason == reason


@pytest.mark.parametrize("split", ["train", "eval"])
def test_every_chosen_answer_passes_and_every_rejected_one_fails(split: Split) -> None:
    for row in make_pairs(1500, 3, split):
        assert check(row["prompt"], row["chosen"]).ok, row
        assert not check(row["prompt"], row["rejected"]).ok, row


def test_rejected_answers_show_every_kind_of_flaw() -> None:
    verbs = {check(row["prompt"], row["rejected"]).reason.split()[0] for row in make_pairs(300, 3, "train")}
    assert verbs == {"says", "promises", "greets", "forgets", "adds", "grumbles", "wanders", "breaks"}
    assert len(FLAWS) == 9  # two of them are a wrong count or treat: `says …`


def test_good_answers_are_diverse() -> None:
    skeletons = {
        re.sub(rf"\b(?:{'|'.join((*NAMES, *DAYS, *TREATS))})s?\b", "_", row["chosen"])
        for row in make_pairs(500, 3, "train")
    }
    assert len(skeletons) > 100


def test_evaluation_shares_no_order_with_pretraining_or_training() -> None:
    seen = {order(request) for request, _ in dialogues(30_000)}
    seen |= {order(row["prompt"]) for row in make_pairs(5_000, 0, "train")}
    seen |= {order(prompt) for prompt in make_prompts(1_000, 0, "train")}
    held_out = {order(row["prompt"]) for row in make_pairs(5_000, 0, "eval")}
    held_out |= {order(prompt) for prompt in make_prompts(1_000, 0, "eval")}
    assert len(seen) > 20_000  # enough for dozens of shared orders, were the splits drawn alike
    assert len(held_out) > 5_000
    assert not seen & held_out


def test_pretraining_text_is_good_as_often_as_stated() -> None:
    verdicts = [check(request, answer).ok for request, answer in dialogues(6_000)]
    assert sum(verdicts) / len(verdicts) == pytest.approx(GOOD_SHARE, abs=0.03)


def test_the_seed_alone_decides_in_every_process() -> None:
    program = "from orpo.quickstart.task import *; print(make_pairs(20, 7, 'eval'), pretraining_text(20, 7))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert runs == {f"{make_pairs(20, 7, 'eval')} {pretraining_text(20, 7)}"}
    assert make_pairs(20, 8, "eval") != make_pairs(20, 7, "eval")


def test_prompts_and_pairs_are_in_the_format_that_the_model_was_pretrained_on() -> None:
    prompt, answer = dialogues(10)[0]
    row = make_pairs(1, 0, "train")[0]
    pattern = r"Guest: [^\n]+\nBaker:"
    assert re.fullmatch(pattern, prompt)
    assert answer.startswith(" ")
    assert re.fullmatch(pattern, row["prompt"])
    assert row["chosen"].startswith(" ")
    assert row["rejected"].startswith(" ")
    assert all(re.fullmatch(pattern, prompt) for prompt in make_prompts(5, 0, "eval"))
