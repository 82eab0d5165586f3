"""What to use, by rules that are printed with it; where the data do not say, it says that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orpo.comparison.claims import told
from orpo.comparison.evidence import Evidence
from orpo.comparison.figures import ACCURACY, CHOSEN, PER_INPUT
from orpo.comparison.measures import Difference, Measure
from orpo.comparison.winrates import WIN_RATE, WinRates
from orpo.config.compare import BASE

RULES = (
    "A difference counts only if it is decided: significant over items, corrected for all pairs of systems "
    "(Holm), and of the same sign with every seed.",
    "The criterion is the win rate, if the judge is fit to judge. Otherwise it is pair accuracy, and what "
    "has made chosen responses less likely than they were before training is left out: accuracy does not "
    "say whether a model still writes.",
    "A candidate is better than the model before training by the criterion, and no other such system is "
    "better than it.",
    "Of several candidates the cheapest is recommended, in forward passes of a response over the whole "
    "budget (a backward pass is two); others of the same cost are named with it.",
    "A system that failed with any seed is no candidate.",
)


@dataclass(frozen=True)
class Recommendation:
    """What to use, and why."""

    systems: tuple[str, ...]
    """Empty if it cannot be told."""

    criterion: str
    reasons: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        return bool(self.systems)


def recommend(evidence: Evidence, measures: Mapping[str, Measure], wins: WinRates | None) -> Recommendation:
    """See `RULES`."""
    by_wins = wins is not None and wins.is_fit
    criterion = wins.measure if wins is not None and by_wins else measures[ACCURACY]
    reasons = list(_about_judge(wins))
    names = [name for name in evidence.compared if name != BASE]
    better = [name for name in names if criterion.sign(name, BASE) > 0]
    if not by_wins:
        chosen = measures[CHOSEN]
        damaged = [name for name in better if chosen.sign(name, BASE) < 0]
        reasons += [
            f"{name} is left out: chosen responses are less likely ({_told(chosen, name, BASE)})"
            for name in damaged
        ]
        better = [name for name in better if name not in damaged]
    candidates = [name for name in better if not _beaten_by(criterion, name, better)]
    if not candidates:
        reasons.append(f"no system is decided to have a better {criterion.title} than before training")
        return Recommendation((), criterion.key, tuple(reasons))
    costs = {name: evidence.system(name).cost for name in candidates}
    cheapest = tuple(name for name in candidates if costs[name] == min(costs.values()))
    reasons += _reasons(criterion, cheapest, candidates, names, costs)
    reasons += _price(measures, cheapest, names)
    return Recommendation(cheapest, criterion.key, tuple(reasons))


def _about_judge(wins: WinRates | None) -> Iterator[str]:
    if wins is None:
        yield "there is no judge, so nothing is known of which responses are preferred"
    elif not wins.is_fit:
        yield f"the judge, {wins.judge}, may not judge: its win rates are shown, and nothing rests on them"


def _beaten_by(criterion: Measure, name: str, names: Sequence[str]) -> list[str]:
    return [other for other in names if criterion.sign(other, name) > 0]


def _reasons(
    criterion: Measure,
    chosen: Sequence[str],
    candidates: Sequence[str],
    names: Sequence[str],
    costs: Mapping[str, int],
) -> Iterator[str]:
    for name in chosen:
        yield f"{name} has a better {criterion.title} than before training ({_told(criterion, name, BASE)})"
        for other in names:
            if criterion.sign(name, other) > 0:
                yield f"{name} is better than {other} ({_told(criterion, name, other)})"
    for name in names:
        if by := _beaten_by(criterion, name, names):
            yield f"{name} is worse than {', '.join(by)}"
    others = [name for name in candidates if name not in chosen]
    for name in others:
        yield (
            f"nothing decides between {name} and {', '.join(chosen)}, which costs less: "
            f"{costs[chosen[0]]:,} passes in place of {costs[name]:,}"
        )


def _price(measures: Mapping[str, Measure], chosen: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """What is paid for in diversity."""
    similarity = measures.get(PER_INPUT)
    if similarity is None:
        return
    for name in chosen:
        more = [other for other in (BASE, *names) if similarity.sign(name, other) > 0]
        for other in more:
            yield (
                f"its price: {name} says more alike things to one prompt than {other} "
                f"({_told(similarity, name, other)})"
            )


def _told(measure: Measure, first: str, second: str) -> str:
    found: Difference | None = measure.between(first, second)
    assert found is not None
    if measure.key == WIN_RATE:
        return f"win rate {found.value + 0.5:.1%}; above one half, {told(found)}"
    return told(found)
