"""The report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orpo.doctor.findings import Finding, Problem, Severity
from orpo.doctor.report import Part, Report
from orpo.statistics.rates import Rate
from orpo.text import printable

# The word is always there, too: colours only help those who see them.
_STYLES = {Severity.FATAL: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def as_table(report: Report) -> Group:
    """The report as something that a rich console prints; nothing in it is markup."""
    return Group(*_blocks(report))


def _blocks(report: Report) -> Iterator[RenderableType]:
    for part in report.parts:
        yield from _part(part)
    yield Text(f"\nfindings: {summary(report)}", style="bold")
    for finding in report.findings:
        yield from _finding(finding)
    if report.not_run:
        yield Text("\nnot run", style="bold")
        reasons = dict.fromkeys(missing.reason for missing in report.not_run)
        for reason in reasons:
            names = ", ".join(missing.name for missing in report.not_run if missing.reason == reason)
            yield Text(f"  {reason}: {names}")


def summary(report: Report) -> str:
    """How many findings there are of each severity."""
    counts = [(s, sum(f.problem.severity is s for f in report.findings)) for s in Severity]
    return ", ".join(f"{count} {_plural(severity, count)}" for severity, count in counts if count) or "none"


def _plural(severity: Severity, count: int) -> str:
    return severity.value if count == 1 or severity is Severity.FATAL else f"{severity.value}s"


def percent(rate: Rate) -> str:
    """A share with its interval and number: `86.5% (85.5% to 87.5%) of 4548`."""
    low, high = rate.interval
    return f"{rate.value:.1%} ({low:.1%} to {high:.1%}) of {rate.trials}"


def contents(part: Part) -> str:
    """How many examples of each kind a part has."""
    pairs, singles = f"{part.pairs} pairs", f"{part.singles} single responses"
    return ", ".join(words for words, count in ((pairs, part.pairs), (singles, part.singles)) if count)


def responses_named(part: Part) -> str:
    """The responses of a part whose language is told."""
    return " and ".join(
        f"{kind} responses" for kind, count in (("chosen", part.pairs), ("single", part.singles)) if count
    )


def advice(problem: Problem) -> str:
    """What to do, line by line: a map to fill in keeps its form."""
    return "\n".join(map(printable, problem.advice.split("\n")))


def _part(part: Part) -> Iterator[RenderableType]:
    yield Text(f"\n{part.use}: {contents(part)}", style="bold")
    for source in part.sources:
        split = f", split {source.split}" if source.split else ""
        counts = f"{source.counts.read} rows read, {source.counts.kept} kept"
        yield Text(f"  {printable(source.name)}{printable(split)}: {printable(source.detected)}; {counts}")
    yield Padding(_lengths(part), (0, 0, 0, 2))
    if part.pairs:
        yield Text(f"  the longer response is the chosen one: {percent(part.length_bias)}")
    if part.signal is not None:
        yield Text(f"  words tell the chosen one: {percent(part.signal.words)}")
        yield Text(f"  the same at about equal length: {percent(part.signal.words_at_equal_length)}")
    languages = ", ".join(f"{code} {count}" for code, count in part.languages.items())
    yield Text(f"  languages of {responses_named(part)}: {languages}")
    if part.cuts:
        yield Padding(_cuts(part), (0, 0, 0, 2))


def _lengths(part: Part) -> Table:
    table = Table(title=f"lengths in {part.lengths[0].unit}", title_justify="left", title_style="")
    for column in ("", "shortest", "5 %", "median", "mean", "95 %", "longest"):
        table.add_column(column, justify="right" if column else "left")
    for lengths in part.lengths:
        shortest, low, median, high, longest = (str(q) for q in lengths.quantiles)
        table.add_row(lengths.segment, shortest, low, median, f"{lengths.mean:.0f}", high, longest)
    return table


def _cuts(part: Part) -> Table:
    table = Table(title="what max_length would do", title_justify="left", title_style="")
    for column in ("max_length", "cut", "emptied", "response tokens lost"):
        table.add_column(column, justify="right")
    for cut in part.cuts:
        table.add_row(str(cut.max_length), str(cut.cut), str(cut.emptied), f"{cut.lost:.1%}")
    return table


def _finding(finding: Finding) -> Iterator[RenderableType]:
    problem = finding.problem
    line = Text()
    line.append(f"\n{problem.severity.upper()}", style=_STYLES[problem.severity])
    line.append(f" {problem.name}", style="bold")
    line.append(f" ({finding.use}): {finding.count} of {finding.total}")
    yield line
    yield Text(f"  {printable(problem.title)}")
    for row in finding.examples:
        yield Padding(Text(f"{row.where}  {row.text}", style="dim"), (0, 0, 0, 4))
    yield Padding(Text(f"→ {advice(problem)}"), (0, 0, 0, 2))
