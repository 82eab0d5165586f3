"""An evaluation for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orpo.text import printable

_EXCERPT = 40

_OF_PAIRS = {
    "margin": "margin",
    "log_odds": "log-odds",
    "logps_chosen": "chosen",
    "logps_rejected": "rejected",
    "rewards_chosen": "chosen",
    "rewards_rejected": "rejected",
}
"""Names of means over pairs, for people."""

_Line = tuple[str, str]


def as_table(record: Mapping[str, Any]) -> Group:
    """The record in evaluation.json as something that a rich console prints; nothing in it is markup."""
    data = record["data"]
    parts: list[RenderableType] = [Text(printable(_title(record["of"])), style="bold"), Text()]
    if record["pairs"] is not None:
        pairs = record["pairs"]
        kind = "rewards" if pairs["log_odds"] is None else "mean log-probabilities of a token"
        parts += [_used(f"pairs, by {kind}", data["pairs"]), _grid(_means(pairs)), Text()]
        if any(_parts(pairs)):
            parts += [_by_part(pairs), Text()]
    if record["assessment"] is not None:
        parts += [_grid(_assessment(record["assessment"])), Text()]
    if record["generation"] is not None:
        parts += [_used("prompts", data["prompts"]), _grid(_generation(record["generation"])), Text()]
    if record["diversity"] is not None:
        parts += [_grid(_diversity(record["diversity"])), Text()]
    parts.append(Text("intervals are of 95 %, over prompts"))
    return Group(*parts)


def _title(of: Mapping[str, Any]) -> str:
    where = of["url"] if of["kind"] == "server" else of["path"]
    step = "" if of["step"] is None else f", step {of['step']}"
    return f"{of['kind']} {of['name']} ({where}{step})"


def _used(what: str, data: Mapping[str, Any]) -> Text:
    """What became of every row."""
    dropped = "".join(f"; {number} not: {reason}" for reason, number in data["dropped"].items())
    return Text(printable(f"{what}: {data['count']} of {data['read']} rows of {data['source']}{dropped}"))


def _means(pairs: Mapping[str, Any]) -> Iterator[_Line]:
    yield "accuracy", _percentages(pairs["accuracy"])
    for name, shown in _OF_PAIRS.items():
        if pairs[name] is not None:
            yield shown, _figure(pairs[name])


def _by_part(pairs: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in ("pairs", "accuracy", "margin"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, part in _parts(pairs):
        cells = str(part["count"]), _percentages(part["accuracy"]), _figure(part["margin"])
        table.add_row(Text(label), *map(Text, cells))
    return table


def _parts(pairs: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of the pairs that are not all of them."""
    if len(pairs["by_source"]) > 1:
        for part in pairs["by_source"]:
            yield _end(part["name"]), part
    if len(pairs["by_length"]) > 1:
        for part in pairs["by_length"]:
            low, high = part["bounds"]
            yield f"{low} to {high} tokens" if low < high else f"{low} tokens", part


def _end(name: str) -> str:
    """The end of a path says most."""
    shown = printable(name)
    return shown if len(shown) <= _EXCERPT else "…" + shown[1 - _EXCERPT :]


def _assessment(found: Mapping[str, Any]) -> Iterator[_Line]:
    rule = found["by_length"]
    yield "as a judge", "fit to judge" if found["fit_to_judge"] else "NOT fit to judge"
    yield "right on", _rate(found["accuracy"])
    yield f"`{rule['rule']}` on", f"{_rate(rule)}, as often: p = {rule['p_value']:.2g}"


def _generation(found: Mapping[str, Any]) -> Iterator[_Line]:
    prompts, samples = found["prompts"], found["samples"]
    yield "responses", f"{found['responses']} of {prompts * samples}, {samples} to each of {prompts} prompts"
    yield "cut off", _percentages(found["truncated"])
    yield "empty", _percentages(found["empty"])
    if found["mean_tokens"] is not None:
        yield "mean length", f"{_figure(found['mean_tokens'], 1)} tokens"
    yield "" if found["mean_tokens"] else "mean length", f"{_figure(found['mean_characters'], 1)} characters"
    if (spent := found["spent"]) is not None:
        cost = "" if spent["cost"] is None else f", cost {spent['cost']:.4f}"
        yield "spent", f"{spent['prompt_tokens']} tokens read, {spent['completion_tokens']} written{cost}"


def _diversity(found: Mapping[str, Any]) -> Iterator[_Line]:
    yield "embedder", printable(found["embedder"])
    if not found["comparable_with_paper"]:
        yield "", "only figures of one embedder can be compared; it is not the paper's"
    yield "per input", f"mean cosine {_figure(found['per_input'])}"
    if found["across_inputs"] is not None:
        yield "across inputs", f"mean cosine {_figure(found['across_inputs'])}"
    for n, figure in found["distinct_n"].items():
        yield f"distinct-{n}", _figure(figure)
    yield "self-BLEU", _figure(found["self_bleu"])


def _figure(figure: Mapping[str, Any], digits: int = 3) -> str:
    return _with_interval(figure["value"], figure["interval"], digits)


def _percentages(figure: Mapping[str, Any]) -> str:
    interval = figure["interval"]
    scaled = None if interval is None else [100 * limit for limit in interval]
    return _with_interval(100 * figure["value"], scaled, 1) + " %"


def _with_interval(value: float, interval: Sequence[float] | None, digits: int) -> str:
    if interval is None:
        return f"{value:.{digits}f}"
    low, high = interval
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _rate(found: Mapping[str, float]) -> str:
    return _percentages({"value": found["rate"], "interval": (found["low"], found["high"])})


def _grid(lines: Iterator[_Line]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in lines:
        grid.add_row(Text(name), Text(value))
    return grid
