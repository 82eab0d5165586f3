from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from orpo.preview.pieces import Piece, Run
from orpo.preview.table import as_table, heading
from orpo.preview.terms import Terms
from orpo.preview.unpack import Token
from orpo.preview.view import Example, Preview, Segment
from tests.unit.preview.previews import HOSTILE, TRL, Texts, preview_of

TEXTS = Texts("Hi there,\nyou?", "Yes 🍕 é", "No", weight=2.5)


def printed(preview: Preview, width: int = 80, **options: object) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)  # type: ignore[arg-type]
    console.print(as_table(preview))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def margins(text: str) -> list[tuple[str, str]]:
    """Sign and tokens of each line below the legend that has them."""
    body = text[text.index("rows.jsonl") :]
    lines = re.findall(r"^  (.{2}) │ (.*?) *$", body, re.MULTILINE)
    return [(sign, tokens) for sign, tokens in lines]


def test_every_line_says_in_its_margin_which_terms_its_tokens_are_in() -> None:
    assert margins(printed(preview_of(TEXTS))) == [
        ("  ", "H╎i╎·╎t╎h╎e╎r╎e╎,╎↵"),
        ("  ", "╎y╎o╎u╎?"),
        ("NP", "Y╎e╎s╎·╎🍕₄╎·╎é₂╎⟨</s> 2⟩"),
        (" P", "N╎o╎⟨</s> 2⟩"),
    ]


def test_a_change_of_terms_within_a_segment_begins_a_line() -> None:
    assert margins(printed(preview_of(TEXTS, objective=TRL)))[:3] == [
        ("  ", "H"),
        ("N ", "i╎·╎t╎h╎e╎r╎e╎,╎↵"),
        ("N ", "╎y╎o╎u╎?"),
    ]


@pytest.mark.parametrize("width", [20, 33, 80])
def test_no_line_is_wider_than_the_terminal_and_no_token_is_lost(width: int) -> None:
    texts = Texts("Hi there, 日本語 with some more words " * 3, "Yes 🍕", "No")
    text = printed(preview_of(texts), width)
    assert max(map(cell_len, text.splitlines())) <= width
    rejoined = "".join(tokens for sign, tokens in margins(text) if sign == "  ")
    assert rejoined == "╎".join(texts.prompt.replace(" ", "·")).translate(
        {ord(character): f"{character}₃" for character in "日本語"}
    )


def test_a_token_that_is_wider_than_the_terminal_is_folded() -> None:
    shown = preview_of(Texts("Hi", "Yes", "No"))
    wide = Piece((Token(9, 0, 0, 0, Terms.NLL),), "=" * 50, is_special=False)
    segment = Segment("prompt", (Run(Terms.NLL, (wide, wide)),), is_cut=False)
    text = printed(replace(shown, examples=(Example("rows.jsonl:1", 1.0, (segment, segment)),)), 33)
    assert max(map(cell_len, text.splitlines())) <= 33
    assert "".join(tokens for _, tokens in margins(text)) == 2 * ("=" * 50 + "╎" + "=" * 50)


def test_the_summary_tells_settings_and_counts() -> None:
    text = printed(preview_of(TEXTS, objective=TRL), 200)
    assert re.search(r"objective +orpo, definition trl, lambda 0.1", text)
    assert re.search(r"tokens +template none, max_length 128, truncation cut", text)
    assert re.search(r"train +pairs 1, single responses 0; tokens: prompt 14, chosen 12, rejected 3", text)
    assert re.search(r"shown +1 of these, .* layout shared: 1 x 29 = 29 tokens, 0 of them padding", text)
    assert re.search(r"scored +28 tokens: 25 in the NLL, 15 in the preference term", text)
    assert "rows.jsonl:1 (pair, weight 2.5)" in text


def test_a_single_response_and_a_cut_one_are_called_so() -> None:
    text = printed(preview_of(Texts("Hi", "Yo", None, cut=True)))
    assert "rows.jsonl:1 (single response, weight 1)" in text
    assert "chosen: 2 tokens in the NLL; CUT at max_length, no end token" in text
    (example,) = preview_of(Texts("Hi", "Yo", None)).examples
    assert "CUT" not in heading(example.segments[1])


def test_without_a_terminal_nothing_but_text_is_printed() -> None:
    assert "\x1b" not in printed(preview_of(TEXTS))


def test_colours_are_left_out_where_they_are_not_wanted() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*\b[34]8;")
    terminal = {"force_terminal": True, "color_system": "truecolor"}
    assert colour.search(printed(preview_of(TEXTS), **terminal))
    assert not colour.search(printed(preview_of(TEXTS), **terminal, no_color=True))


def test_hostile_text_is_printed_as_it_is_spelled() -> None:
    hostile = Texts(HOSTILE, HOSTILE + "1", HOSTILE + "2", where=f"rows.jsonl {HOSTILE}")
    text = printed(preview_of(hostile), 400)
    for character in "\x1b\u202e\x00":
        assert character not in text
    assert "╎".join("[bold]x[/bold]") in text
    assert "[bold]x[/bold]" in text  # of its origin
