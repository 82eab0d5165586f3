"""The preview for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from orpo.preview.pieces import Piece, Run
from orpo.preview.signs import BOUNDARY, LEGEND, SIGNS, WORDS, account, lines_of
from orpo.preview.terms import Terms
from orpo.preview.view import Example, Preview, Segment
from orpo.text import printable

_STYLES: Mapping[Terms, str] = {
    # From Okabe and Ito's palette, which no colour blindness merges; these are legible on black and on white.
    Terms.NONE: "",
    Terms.NLL: "#0072B2",
    Terms.LOG_ODDS: "#D55E00",
    Terms.BOTH: "bold #009E73",
}

_INDENT = "  "


def as_table(preview: Preview) -> Group:
    """The preview as something that a rich console prints; nothing in it is markup."""
    return Group(*_blocks(preview))


def _blocks(preview: Preview) -> Iterator[RenderableType]:
    yield from (Text(line) for line in summary(preview))
    yield Text("")
    for terms, sign in SIGNS.items():
        yield Text.assemble(_INDENT, (f"{sign} │ {WORDS[terms]}", _STYLES[terms]))
    yield Text(f"{_INDENT}{LEGEND}")
    for example in preview.examples:
        yield from _example(example)


def summary(preview: Preview) -> list[str]:
    """What is shown, in a few lines."""
    settings = ", ".join(f"{name} {printable(str(value))}" for name, value in preview.settings.items())
    split, held = preview.split, preview.held
    tokens = ", ".join(f"{name} {count}" for name, count in split.tokens.items())
    return [
        settings,
        f"{split.name}: {split.pairs} pairs, {split.singles} single responses; tokens: {tokens}",
        f"shown: {len(preview.examples)} of them, in one micro-batch of {held.rows} x {held.columns} = "
        f"{held.tokens} tokens, {held.padding} of them padding; {held.scored} are scored, {held.in_nll} in "
        f"the NLL and {held.in_log_odds} in the log odds",
    ]


def _example(example: Example) -> Iterator[RenderableType]:
    weight = "" if example.weight == 1 else f"  weight {example.weight:g}"
    yield Text(f"\n{printable(example.where)}{weight}", style="bold")
    for segment in example.segments:
        yield Text(heading(segment))
        yield from (_Lines(run) for run in segment.runs)


def heading(segment: Segment) -> str:
    """The line above a segment's tokens."""
    cut = "; CUT at max_length, so no token ends it" if segment.is_cut else ""
    return f"{segment.name}  {account(segment)}{cut}"


class _Lines:
    """A run of tokens with its sign in the margin of every line; lines are broken between tokens."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = _STYLES[self._run.terms]
        margin = f"{_INDENT}{SIGNS[self._run.terms]} │ "
        for line in _wrapped(self._run.pieces, max(options.max_width - len(margin), 8)):
            text = Text.assemble((margin, style), no_wrap=True)
            for part in line:
                text.append(part, style="dim" if part == BOUNDARY else style)
            yield text


def _wrapped(pieces: Sequence[Piece], width: int) -> Iterator[list[str]]:
    """Lines of at most `width` cells; every piece but the first has a boundary before it."""
    line: list[str] = []
    for number, piece in enumerate(pieces):
        first, *others = [part for text in lines_of(piece) for part in chop_cells(text, width - 1) or [""]]
        boundary = [BOUNDARY] if number else []
        if line and sum(map(cell_len, (*line, *boundary, first))) > width:
            yield line
            line = []
        line += [*boundary, first]
        for other in others:
            yield line
            line = [other] if other else []
    if line:
        yield line
