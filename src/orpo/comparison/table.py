"""A plan and its results, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orpo.comparison.claims import Verdict
from orpo.comparison.figures import ACCURACY, CHOSEN, PER_INPUT, REJECTED
from orpo.comparison.measures import Figure
from orpo.comparison.plan import Plan
from orpo.comparison.record import Findings
from orpo.comparison.runs import is_over
from orpo.text import printable

SHOWN = (ACCURACY, CHOSEN, REJECTED, PER_INPUT)
"""Measures in the terminal's table, beside the win rate."""


def plan_table(plan: Plan) -> Group:
    """What will be trained, and what is done."""
    table = _table(
        "system", "objective", "after", "steps", "visits of pairs", "forward passes", "learning rate", "done"
    )
    seeds = plan.section.seeds
    for one in plan.systems:
        done = sum(is_over(phases[-1]) for phases in one.phases.values())
        table.add_row(
            one.name,
            one.config.objective.name,
            one.after or "",
            " + ".join(str(run.steps) for run in one.any_phases),
            " + ".join(str(run.visits) for run in one.any_phases),
            f"{one.cost:,}",
            " and ".join(f"{run.config.training.learning_rate:g}" for run in one.any_phases),
            f"{done} of {len(seeds)}",
        )
    evaluation = plan.section.evaluation
    lines = [
        f"{len(plan.runs)} runs with seeds {', '.join(map(str, seeds))}, in {plan.output}; budget "
        f"{plan.section.budget} visits of pairs for each system and seed",
        f"evaluation: at most {evaluation.max_prompts} prompts, {evaluation.samples} samples of at most "
        f"{evaluation.max_new_tokens} tokens at temperature {evaluation.temperature:g}",
        f"judge: {_judge(plan)}",
        *plan.deviations,
    ]
    return Group(table, Text(), *(Text(printable(line)) for line in lines))


def _judge(plan: Plan) -> str:
    section = plan.section.judge
    if section is None:
        return "none, so there will be no win rates"
    return section.model or "trained first, beside the budget"


def results_table(found: Findings) -> Group:
    """The figures, the claims and the recommendation."""
    measures = [found.measures[key] for key in SHOWN if key in found.measures]
    if found.wins is not None:
        measures = [found.wins.measure, *measures]
    table = _table("system", *(one.title for one in measures))
    for name in found.evidence.compared:
        table.add_row(name, *(_cell(one.figures.get(name)) for one in measures))
    parts: list[RenderableType] = [
        table,
        Text(
            "means over seeds; in brackets 95 % intervals over held-out pairs or prompts, below them the "
            "lowest and the highest seed",
            style="dim",
        ),
    ]
    for name, seeds in found.evidence.failures.items():
        parts += [Text(printable(f"{name}, seed {seed}: {why}"), style="red") for seed, why in seeds.items()]
    parts += [Text(), Text("the paper's claims", style="bold")]
    parts += [Text(f"{one.number}  {one.verdict:14}  {one.statement}") for one in found.claims]
    parts += [Text(), Text("recommendation", style="bold"), *map(Text, _recommendation(found))]
    return Group(*parts)


def _recommendation(found: Findings) -> Sequence[str]:
    one = found.recommendation
    head = " or ".join(one.systems) if one.is_known else f"{Verdict.UNKNOWN}"
    return [printable(head), *(printable(f"  {reason}") for reason in one.reasons)]


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    low, high = figure.interval
    return (
        f"{figure.value:.3f} [{low:.3f}, {high:.3f}]\n{min(figure.by_seed):.3f} to {max(figure.by_seed):.3f}"
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        is_name = number == 0
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=is_name, overflow="fold")
    return table
