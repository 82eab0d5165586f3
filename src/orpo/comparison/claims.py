"""The paper's claims, each judged by what this comparison has measured (Hong, Lee, Thorne 2024).

A claim has parts.  A part holds if what it says is decided (see `measures`), does not hold if the opposite
is, and otherwise it cannot be told.  A claim holds if all of its parts hold, and not if one of them does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orpo.comparison.evidence import Evidence
from orpo.comparison.figures import ACROSS_INPUTS, CHOSEN, LOG_ODDS, MARGIN, PER_INPUT, REJECTED
from orpo.comparison.measures import Difference, Measure
from orpo.comparison.plan import Passes, PlannedSystem
from orpo.comparison.winrates import WinRates
from orpo.config.compare import BASE
from orpo.config.objectives import ORPOSection

ON_PAR = 0.1
"""Log-probability per token within which two are taken to be on par, if all of the interval is."""

_SAME_MEMORY = 0.02
"""Share by which peaks of memory differ from run to run."""


class Verdict(StrEnum):
    """What the data say."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "cannot tell"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Part:
    """Something that a claim says."""

    what: str
    verdict: Verdict
    figures: str
    """What it rests on."""


@dataclass(frozen=True)
class Claim:
    """One of the paper's."""

    number: int
    statement: str
    parts: tuple[Part, ...]
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Of all parts together."""
        verdicts = {part.verdict for part in self.parts} - {Verdict.NOT_TESTED}
        if not verdicts:
            return Verdict.NOT_TESTED
        if Verdict.FAILS in verdicts:
            return Verdict.FAILS
        return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts else Verdict.HOLDS


@dataclass(frozen=True)
class _Known:
    """What the claims are judged by."""

    evidence: Evidence
    measures: Mapping[str, Measure]
    wins: WinRates | None

    def systems(self, name: str) -> list[PlannedSystem]:
        """Those that were compared, by their objective's name; supervised ones that start from the base."""
        compared = self.evidence.compared
        return [
            one
            for one in self.evidence.plan.systems
            if one.config.objective.name == name
            and one.name in compared
            and (name != "sft" or one.after is None)
        ]

    def orpo(self, lambda_: float | None = None, contrast: str = "odds") -> list[PlannedSystem]:
        """Those with ORPO from the base model, of one lambda or all."""
        return [
            one
            for one in self.systems("orpo")
            if isinstance(objective := one.config.objective, ORPOSection)
            and objective.contrast == contrast
            and one.after is None
            and lambda_ in (None, objective.lambda_)
        ]

    def part(self, what: str, key: str, first: str, second: str, sign: int) -> Part:
        """That the first has more of a measure than the second (sign 1), or less (-1)."""
        found = self.measures[key].between(first, second) if key in self.measures else None
        if found is None:
            return Part(what, Verdict.NOT_TESTED, "not measured")
        return Part(what, _verdict(found.sign, sign), told(found))

    def on_par(self, what: str, key: str, first: str, second: str) -> Part:
        """That a measure of two systems differs by less than `ON_PAR`."""
        found = self.measures[key].between(first, second)
        assert found is not None
        low, high = found.interval
        if low >= -ON_PAR and high <= ON_PAR:
            verdict = Verdict.HOLDS
        else:
            verdict = Verdict.FAILS if low > ON_PAR or high < -ON_PAR else Verdict.UNKNOWN
        return Part(what, verdict, f"{told(found)}; on par within {ON_PAR}")


def judge_claims(evidence: Evidence, measures: Mapping[str, Measure], wins: WinRates | None) -> list[Claim]:
    """Every claim, in the order of the paper.

    Args:
        evidence: the runs.
        measures: see `all_measures`.
        wins: None without a judge.
    """
    known = _Known(evidence, measures, wins)
    return [Claim(number, statement, tuple(of(known)), note) for number, statement, of, note in _CLAIMS]


def told(found: Difference) -> str:
    """A difference with its uncertainty."""
    low, high = found.interval
    seeds = f"seeds {min(found.by_seed):+.3f} to {max(found.by_seed):+.3f}"
    return (
        f"{found.first} less {found.second}: {found.value:+.3f} [{low:+.3f}, {high:+.3f}], {seeds}, "
        f"p = {found.p_value:.2g}"
    )


def _verdict(found: int, expected: int) -> Verdict:
    if found == 0:
        return Verdict.UNKNOWN
    return Verdict.HOLDS if found == expected else Verdict.FAILS


def _supervised(known: _Known) -> Iterator[Part]:
    for one in known.systems("sft"):
        yield known.part(f"{one.name}: chosen rises", CHOSEN, one.name, BASE, 1)
        yield known.part(f"{one.name}: rejected rises too", REJECTED, one.name, BASE, 1)


def _separation(known: _Known) -> Iterator[Part]:
    for one in known.orpo(1.0):
        yield known.part(f"{one.name}: rejected falls", REJECTED, one.name, BASE, -1)
        for other in known.systems("sft"):
            yield known.on_par(
                f"{one.name}: chosen is on par with {other.name}", CHOSEN, one.name, other.name
            )
        yield known.part(f"{one.name}: the log odds ratio grows", LOG_ODDS, one.name, BASE, 1)


def _lambdas(known: _Known) -> Iterator[Part]:
    for one in known.orpo(0.1):
        yield known.part(f"{one.name}: chosen rises", CHOSEN, one.name, BASE, 1)
        yield known.on_par(f"{one.name}: chosen and rejected stay close", MARGIN, one.name, BASE)
    for lambda_, chosen in ((0.5, 1), (1.0, -1)):
        for one in known.orpo(lambda_):
            yield known.part(f"{one.name}: chosen {_WAYS[chosen]}", CHOSEN, one.name, BASE, chosen)
            yield known.part(f"{one.name}: rejected falls", REJECTED, one.name, BASE, -1)
    for one in known.orpo(1.0):
        for other in known.orpo():
            if other.name != one.name:
                what = f"{one.name}: its margin is wider than that of {other.name}"
                yield known.part(what, MARGIN, one.name, other.name, 1)


_WAYS = {1: "rises", -1: "falls"}


def _probability_ratio(known: _Known) -> Iterator[Part]:
    for one in known.orpo(contrast="probability"):
        objective = one.config.objective
        assert isinstance(objective, ORPOSection)
        for other in known.orpo(objective.lambda_):
            what = f"{one.name}: rejected is lower than with {other.name}"
            yield known.part(what, REJECTED, one.name, other.name, -1)


def _wins(known: _Known) -> Iterator[Part]:
    for one in known.orpo():
        for other in (*known.systems("sft"), *known.systems("dpo")):
            what = f"{one.name} wins more often than not against {other.name}"
            if known.wins is None:
                yield Part(what, Verdict.NOT_TESTED, "there is no judge")
                continue
            found = known.wins.measure.between(one.name, other.name)
            if found is None:
                yield Part(what, Verdict.UNKNOWN, "the judge has no verdict")
                continue
            figures = f"win rate {found.value + 0.5:.1%}, above one half: {told(found)}"
            if known.wins.is_fit:
                yield Part(what, _verdict(found.sign, 1), figures)
            else:
                yield Part(what, Verdict.UNKNOWN, f"{figures}; the judge is not fit to judge")


def _diversity(known: _Known) -> Iterator[Part]:
    for one in known.orpo():
        for other in known.systems("dpo"):
            yield known.part(
                f"{one.name}: responses to a prompt are more alike than those of {other.name}",
                PER_INPUT,
                one.name,
                other.name,
                1,
            )
            yield known.part(
                f"{one.name}: responses to different prompts are less alike than those of {other.name}",
                ACROSS_INPUTS,
                one.name,
                other.name,
                -1,
            )


def _cost(known: _Known) -> Iterator[Part]:
    for one in known.orpo():
        for other in known.systems("dpo"):
            ours, theirs = Passes.of("orpo"), Passes.of("dpo")
            forward = [passes.with_gradient + passes.without for passes in (ours, theirs)]
            yield Part(
                f"{one.name}: half of the forward passes of {other.name} in each visit",
                Verdict.HOLDS if 2 * forward[0] == forward[1] else Verdict.FAILS,
                f"{forward[0]} and {forward[1]} responses for each pair, counted, not measured",
            )
            yield _memory(known, one.name, other.name)


def _memory(known: _Known, one: str, other: str) -> Part:
    what = f"{one}: less memory than {other}"
    pairs = [
        (ours, theirs)
        for seed in known.evidence.seeds
        if (ours := known.evidence.trained[one][seed].peak_memory_bytes) is not None
        and (theirs := known.evidence.trained[other][seed].peak_memory_bytes) is not None
    ]
    if not pairs:
        return Part(what, Verdict.NOT_TESTED, "not logged")
    ratios = [ours / theirs for ours, theirs in pairs]
    figures = "peak of the process, as a share of the other's, by seed: " + ", ".join(
        f"{ratio:.3f}" for ratio in ratios
    )
    if max(ratios) < 1 - _SAME_MEMORY:
        return Part(what, Verdict.HOLDS, figures)
    # That it is not less says nothing where no reference is held in memory; see the claim's note.
    return Part(what, Verdict.UNKNOWN, figures)


def _untested(known: _Known) -> Iterator[Part]:
    """No model sizes are compared."""
    del known
    return iter(())


_CLAIMS: Sequence[tuple[int, str, Callable[[_Known], Iterator[Part]], str]] = (
    (1, "Supervised fine-tuning on chosen responses raises rejected ones too (Figure 3).", _supervised, ""),
    (
        2,
        "With lambda 1, rejected responses fall while chosen ones are on par with supervised fine-tuning, "
        "and the log odds ratio grows (Figure 7).",
        _separation,
        "",
    ),
    (
        3,
        "With lambda 0.1 chosen and rejected stay close and chosen rises; with 0.5 chosen rises and "
        "rejected falls; with 1 both fall, and the margin is widest (Figure 9).",
        _lambdas,
        "That a larger lambda helps open-ended tasks and hurts those with one answer is not tested.",
    ),
    (
        4,
        "The ratio of probabilities in place of odds suppresses rejected responses further (Figure 8).",
        _probability_ratio,
        "Tested where a system has `contrast: probability` and another one the same lambda with odds.",
    ),
    (5, "Rewards of ORPO's responses are above those of SFT's at every size (Figures 5, 10).", _untested, ""),
    (
        6,
        "ORPO's responses are preferred to those of SFT and DPO by a reward model (Section 6.2).",
        _wins,
        "The paper itself has ORPO behind DPO, or level with it, for models of 125 and 350 million "
        "parameters. PPO, and that the gain grows with size, are not tested.",
    ),
    (
        7,
        "ORPO's responses to one prompt are less diverse than DPO's, and those to different prompts are more "
        "diverse (Table 4).",
        _diversity,
        "",
    ),
    (
        8,
        "ORPO needs no reference model, and half of DPO's forward passes (Section 7.3).",
        _cost,
        "Here a reference is scored once before training and not held in memory while it goes on, so the "
        "memory that the paper counts for it is not there to be saved.",
    ),
)
