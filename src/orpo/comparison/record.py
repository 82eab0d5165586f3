"""A comparison as plain data: comparison.json; docs/compare.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orpo.comparison.claims import Claim, judge_claims
from orpo.comparison.evidence import Evidence, Trained
from orpo.comparison.measures import Difference, Figure, Measure
from orpo.comparison.plan import Passes, Plan, PlannedRun, PlannedSystem
from orpo.comparison.recommendation import RULES, Recommendation, recommend
from orpo.comparison.winrates import WinRates

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Findings:
    """What a comparison has found."""

    evidence: Evidence
    measures: Mapping[str, Measure]
    """Without win rates."""

    wins: WinRates | None
    embedder: str | None
    """Behind the figures of similarity."""

    claims: tuple[Claim, ...]
    recommendation: Recommendation
    command: str
    versions: Mapping[str, str]


def find(
    evidence: Evidence,
    measures: Mapping[str, Measure],
    wins: WinRates | None,
    *,
    embedder: str | None,
    command: str,
    versions: Mapping[str, str],
) -> Findings:
    """All that follows from the figures."""
    claims = tuple(judge_claims(evidence, measures, wins))
    recommendation = recommend(evidence, measures, wins)
    return Findings(evidence, measures, wins, embedder, claims, recommendation, command, versions)


def plan_record(plan: Plan) -> dict[str, Any]:
    """What will be trained."""
    return {
        "budget": plan.section.budget,
        "seeds": list(plan.section.seeds),
        "systems": [_planned(one) for one in plan.systems],
        "judge": _planned_run(plan.judge) if plan.judge is not None else None,
        "deviations": plan.deviations,
    }


def as_record(found: Findings) -> dict[str, Any]:
    """Everything that is on the page, but for texts and curves."""
    evidence = found.evidence
    measures = [*found.measures.values(), *([found.wins.measure] if found.wins is not None else [])]
    return {
        "schema_version": SCHEMA_VERSION,
        "command": found.command,
        "versions": dict(found.versions),
        "plan": plan_record(evidence.plan),
        "pairs": len(evidence.pairs),
        "prompts": evidence.prompts,
        "samples": evidence.samples,
        "embedder": found.embedder,
        "compared": evidence.compared,
        "runs": {
            name: {str(seed): _trained(one) for seed, one in seeds.items()}
            for name, seeds in evidence.trained.items()
        },
        "failures": {
            name: {str(seed): why for seed, why in seeds.items()} for name, seeds in evidence.failures.items()
        },
        "measures": {one.key: _measure(one) for one in measures},
        "judge": _judge(found.wins),
        "claims": [
            {
                "number": one.number,
                "statement": one.statement,
                "verdict": one.verdict,
                "note": one.note,
                "parts": [asdict(part) for part in one.parts],
            }
            for one in found.claims
        ],
        "recommendation": {**asdict(found.recommendation), "rules": list(RULES)},
    }


def _planned(one: PlannedSystem) -> dict[str, Any]:
    return {
        "name": one.name,
        "after": one.after,
        "visits": one.visits,
        "forward_passes": one.cost,
        "phases": [_planned_run(run) for run in one.any_phases],
    }


def _planned_run(run: PlannedRun) -> dict[str, Any]:
    passes = Passes.of(run.objective)
    training = run.config.training
    return {
        "objective": run.config.objective.model_dump(by_alias=True),
        "learning_rate": training.learning_rate,
        "steps": run.steps,
        "rows_per_step": training.batch_size,
        "visits": run.visits,
        "responses_with_gradient": passes.with_gradient,
        "responses_without_gradient": passes.without,
    }


def _trained(one: Trained) -> dict[str, Any]:
    return {
        "path": str(one.phases[-1].path),
        "evaluation": str(one.evaluation.path),
        "training_seconds": one.seconds,
        "wall_seconds": one.wall_seconds,
        "peak_memory_bytes": one.peak_memory_bytes,
        "visits": one.visits,
    }


def _measure(one: Measure) -> dict[str, Any]:
    return {
        "title": one.title,
        "intervals_over": one.items,
        "systems": {name: _figure(figure) for name, figure in one.figures.items()},
        "differences": [_difference(difference) for difference in one.differences],
    }


def _figure(one: Figure) -> dict[str, Any]:
    return {"value": one.value, "interval": list(one.interval), "by_seed": list(one.by_seed)}


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "first": one.first,
        "second": one.second,
        "difference": one.value,
        "interval": list(one.interval),
        "by_seed": list(one.by_seed),
        "corrected_p_value": one.p_value,
        "significant": one.significant,
        "decided": one.sign != 0,
    }


def _judge(wins: WinRates | None) -> dict[str, Any] | None:
    if wins is None:
        return None
    return {
        "name": wins.judge,
        "is_fit": wins.is_fit,
        "assessment": wins.assessment.model_dump() if wins.assessment is not None else None,
        "win_rates": [
            {
                "first": first,
                "second": second,
                "value": rate.rate,
                "interval": list(rate.interval),
                "wins": rate.wins,
                "ties": rate.ties,
                "losses": rate.losses,
            }
            for (first, second), rate in wins.rates.items()
        ],
        "bradley_terry": [
            {"system": one.name, "logit": one.logit, "interval": list(one.interval), "elo": one.elo}
            for one in wins.strengths
        ],
    }
