"""The preview for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len, chop_cells
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orpo.preview.pieces import Piece, Run
from orpo.preview.signs import GLYPHS, SIGNS, SPACE, WORDS, account, lines_of
from orpo.preview.terms import Terms
from orpo.preview.view import Example, Preview, Segment
from orpo.text import printable

_STYLES: Mapping[Terms, str] = {
    # From Okabe and Ito's palette, which no colour blindness merges; these are legible on black and on white.
    Terms.NONE: "",
    Terms.NLL: "#0072B2",
    Terms.PREFERENCE: "#D55E00",
    Terms.BOTH: "bold #009E73",
}

_INDENT = "  "
_BOUNDARY = "╎"


def as_table(preview: Preview) -> Group:
    """The preview as something that a rich console prints; nothing in it is markup."""
    return Group(*_blocks(preview))


def _blocks(preview: Preview) -> Iterator[RenderableType]:
    table = Table.grid(padding=(0, 2))
    for name, text in summary(preview).items():
        table.add_row(Text(name), Text(text))
    yield table
    yield Text("")
    for terms, sign in SIGNS.items():
        yield Text.assemble(_INDENT, (f"{sign} │ {WORDS[terms]}", _STYLES[terms]))
    glyphs = (f"{_BOUNDARY} between tokens", *GLYPHS)
    yield Padding(Columns(map(Text, glyphs), padding=(0, 2)), (0, 0, 0, len(_INDENT)))
    for example in preview.examples:
        yield from _example(example)


def summary(preview: Preview) -> dict[str, str]:
    """What is shown, in a few lines."""
    settings, split, held = preview.settings, preview.split, preview.held
    name, *coefficients = (f"{key} {value}" for key, value in settings.objective.items())
    tokens = ", ".join(f"{name} {count}" for name, count in split.tokens.items())
    return {
        "model": printable(settings.model),
        "objective": ", ".join([name.removeprefix("name "), *coefficients]),
        "tokens": f"template {printable(settings.template)}, max_length {settings.max_length}, "
        f"truncation {settings.truncation}",
        split.name: f"pairs {split.pairs}, single responses {split.singles}; tokens: {tokens}",
        "shown": f"{len(preview.examples)} of these, in one micro-batch, layout {settings.layout}: "
        f"{held.rows} x {held.columns} = {held.tokens} tokens, {held.padding} of them padding",
        "scored": f"{held.scored} tokens: {held.in_nll} in the NLL, {held.in_preference} in the preference "
        "term",
    }


def _example(example: Example) -> Iterator[RenderableType]:
    yield Text("\n" + title(example), style="bold")
    for segment in example.segments:
        yield Text(heading(segment))
        yield from (_Lines(run) for run in segment.runs)


def title(example: Example) -> str:
    """The line above an example."""
    kind = "single response" if example.is_single else "pair"
    return f"{printable(example.where)} ({kind}, weight {example.weight:g})"


def heading(segment: Segment) -> str:
    """The line above a segment's tokens."""
    cut = "; CUT at max_length, no end token" if segment.is_cut else ""
    return f"{segment.name}: {account(segment)}{cut}"


class _Lines:
    """A run of tokens with its sign in the margin of every line; lines are broken between tokens."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = _STYLES[self._run.terms]
        margin = f"{_INDENT}{SIGNS[self._run.terms]} │ "
        for line in _wrapped(self._run.pieces, max(options.max_width - len(margin), 8)):
            text = Text(line, style, no_wrap=True)
            text.highlight_regex(f"[{_BOUNDARY}{SPACE}]", "dim")
            yield Text.assemble((margin, style), text)


def _wrapped(pieces: Sequence[Piece], width: int) -> Iterator[str]:
    """Lines of at most `width` cells; every piece but the first has a boundary before it."""
    line = ""
    for number, piece in enumerate(pieces):
        first, *others = [part for text in lines_of(piece) for part in chop_cells(text, width - 1) or [""]]
        bounded = _BOUNDARY + first if number else first
        if line and cell_len(line + bounded) > width:
            yield line
            line = ""
        line += bounded
        for other in others:
            yield line
            line = other
    if line:
        yield line
