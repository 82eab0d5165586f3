"""What a judge said, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orpo.text import printable

_EXCERPT = 60

_STANDING = {
    "fit": "fit to judge",
    "unfit": "UNFIT to judge: it does not beat chance, or the rule below",
    "not known": "not known to be fit to judge: measure it with --held-out PAIRS",
}

_Line = tuple[str, str]


def as_table(record: Mapping[str, Any]) -> Group:
    """The record of `as_record` as something that a rich console prints; nothing in it is markup."""
    parts: list[RenderableType] = []
    if "reward_model" in record:
        parts += [*_reward_model(record["reward_model"]), Text()]
    for comparison in record["comparisons"]:
        title = f"{comparison['model']} against {comparison['baseline']}, judged by {comparison['judge']}"
        parts += [Text(printable(title), style="bold"), _grid(_lines(comparison)), Text()]
    if "bradley_terry" in record:
        parts += [_strengths(record["bradley_terry"]), Text(), _differences(record["differences"]), Text()]
    if "scores" in record:
        parts += [_scores(record["scores"]), Text()]
    if "spent" in record:
        parts.append(_grid(_spent(record["spent"])))
    return Group(*parts)


def _lines(comparison: Mapping[str, Any]) -> Iterator[_Line]:
    yield from _win_rate(comparison["win_rate"])
    yield "at equal length", _length_controlled(comparison["length_controlled"])
    lengths = comparison["mean_characters"]
    if lengths is not None:
        yield "mean length", f"{lengths['model']:.0f} and {lengths['baseline']:.0f} characters"
    yield "position", _position(comparison["position"])
    yield "verdicts", _verdicts(comparison)
    for reason, number in comparison["questions_without_verdict"].items():
        yield "", f"{number} without a verdict: {reason}"
    for side, left in comparison.get("not_matched", {}).items():
        if left["count"]:
            name = comparison[side]
            first = printable(left["instructions"][0], _EXCERPT)
            yield "not matched", f"{left['count']} only in {name} (first: {first!r})"


def _win_rate(rate: Mapping[str, Any] | None) -> Iterator[_Line]:
    if rate is None:
        yield "win rate", "not known: no valid verdict"
        return
    inconclusive = "" if rate["conclusive"] else ": inconclusive"
    yield "win rate", f"{_percent(rate)} (95 %, {rate['method']}){inconclusive}"
    yield "wins, ties, losses", f"{rate['wins']}, {rate['ties']}, {rate['losses']}"
    yield "sign test", f"p = {rate['sign_test_p_value']:.2g}"


def _length_controlled(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "not known: these verdicts or lengths do not allow it"
    low, high = figure["length_effect_interval"]
    return (
        f"{_percent(figure)}, fitted within these verdicts alone (not AlpacaEval's column); "
        f"effect of length {figure['length_effect']:+.2f} [{low:+.2f}, {high:+.2f}]"
    )


def _position(position: Mapping[str, Any] | None) -> str:
    if position is None:
        return "not known: asked in one order"
    return (
        f"both orders agree on {_percent(position['consistent'])}; inconsistent ones are ties: "
        f"{_percent(position['first_slot'])} for what is first, {_percent(position['second_slot'])} for "
        "what is second"
    )


def _verdicts(comparison: Mapping[str, Any]) -> str:
    rest = [
        f"{comparison[key]} {name}"
        for key, name in (("n_invalid", "invalid"), ("n_error", "failed"), ("n_not_asked", "not asked"))
        if comparison[key]
    ]
    valid = f"{comparison['n_valid']} valid of {comparison['n_total']}"
    return f"{valid} ({', '.join(rest)})" if rest else valid


def _strengths(strengths: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, title="Bradley-Terry", title_justify="left")
    table.add_column("model", overflow="fold")
    for name in ("log-odds", "95 %", "Elo", "games"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in strengths:
        low, high = one["interval"]
        table.add_row(
            Text(printable(one["model"])),
            f"{one['logit']:+.2f}",
            Text(f"[{low:+.2f}, {high:+.2f}]"),
            f"{one['elo']:.0f}",
            str(one["games"]),
        )
    return table


def _differences(differences: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, title="Pairs, p-values corrected for all", title_justify="left")
    table.add_column("pair", overflow="fold")
    for name in ("win rate", "p (Holm)", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for one in differences:
        table.add_row(
            Text(printable(f"{one['model']} against {one['baseline']}")),
            f"{50 + 100 * one['above_half']:.1f} %",
            f"{one['corrected_p_value']:.2g}",
            "significant" if one["significant"] else "not significant",
        )
    return table


def _scores(boards: Sequence[Mapping[str, Any]]) -> Table:
    turns = sorted({turn for one in boards for turn in one["turns"]}, key=int)
    table = Table(box=None, pad_edge=False, title="Mean scores", title_justify="left")
    for name in ("model", "judge"):
        table.add_column(name, overflow="fold")
    for name in (*(f"turn {turn}" for turn in turns), "all", "95 %", "answers", "without a score"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in boards:
        overall, interval = one["overall"], one["overall"]["interval"]
        table.add_row(
            Text(printable(one["model"])),
            Text(printable(one["judge"])),
            *(_mean(one["turns"].get(turn)) for turn in turns),
            _mean(overall),
            Text("" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"),
            str(overall["n"]),
            str(overall["n_without_score"]),
        )
    return table


def _mean(score: Mapping[str, Any] | None) -> str:
    return "–" if score is None or score["mean"] is None else f"{score['mean']:.2f}"


def _reward_model(found: Mapping[str, Any]) -> Iterator[Text]:
    """Whether the judge may judge, before anything that it says."""
    words = _STANDING[found["standing"]]
    yield Text(printable(f"{found['name']}: {words}"), style="" if found["standing"] == "fit" else "bold red")
    if (assessment := found["assessment"]) is not None:
        accuracy, by_length = assessment["accuracy"], assessment["by_length"]
        yield Text(
            printable(
                f"right on {_share(accuracy)} of {assessment['pairs']} held-out pairs, the rule "
                f"“{by_length['rule']}” on {_share(by_length)} (p = {by_length['p_value']:.2g}); from "
                f"{found['source']}"
            )
        )
    for reason, number in found["held_out_dropped"].items():
        yield Text(printable(f"held-out pairs: {number} {reason}"))
    yield Text(
        f"{found['responses']} responses valued, {found['cut']} of them cut at what it reads"
        + (f"; {found['empty']} empty ones lose" if found["empty"] else "")
    )


def _share(rate: Mapping[str, float]) -> str:
    return f"{100 * rate['rate']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def _spent(spent: Mapping[str, Any]) -> Iterator[_Line]:
    yield "requests", f"{spent['requests']} sent now"
    for name, key in (("paid now", "now"), ("paid in all", "in_all")):
        usage = spent[key]
        cost = "" if usage["cost"] is None else f", cost {usage['cost']:.4f}"
        unknown = usage["answers_without_tokens"]
        at_least = f", and {unknown} answers of unknown size" if unknown else ""
        yield (
            name,
            f"{usage['answers']} answers: {usage['prompt_tokens']} tokens read, "
            f"{usage['completion_tokens']} written{cost}{at_least}",
        )


def _percent(rate: Mapping[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{100 * rate['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _grid(lines: Iterator[_Line]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, Text(printable(value)))
    return table
