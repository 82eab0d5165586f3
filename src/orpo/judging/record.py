"""What a judge said, as plain data for programs; `docs/judging.md` describes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orpo.chat.spending import Usage
from orpo.judging.comparison import Comparison
from orpo.judging.contest import Contest, Standings
from orpo.judging.mt_bench import Score, Scoreboard
from orpo.judging.outputs import Matching
from orpo.judging.verdicts import Status
from orpo.statistics.intervals import Interval
from orpo.statistics.length_control import LengthControlled
from orpo.statistics.position import BothOrders
from orpo.statistics.rates import Rate
from orpo.statistics.winrate import WinRate

_MOST_INSTRUCTIONS = 5


def as_record(
    contests: Sequence[Contest],
    table: Standings | None,
    *,
    scores: Sequence[Scoreboard] = (),
    **more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All comparisons.

    Args:
        contests: the pairs of models.
        table: of several.
        scores: of single answers.
        more: what else there is to say, by key: `spent`, see `spent_record`, and `reward_model`.
    """
    record: dict[str, Any] = {"comparisons": [_contest(one) for one in contests]}
    if table is not None:
        record["bradley_terry"] = [
            {
                "model": one.name,
                "games": one.games,
                "logit": one.logit,
                "interval": list(one.interval),
                "elo": one.elo,
            }
            for one in table.strengths
        ]
        record["differences"] = [
            {
                "model": one.first,
                "baseline": one.second,
                "above_half": one.difference,
                "interval": list(one.interval),
                "p_value": one.p_value,
                "corrected_p_value": one.corrected,
                "significant": one.significant,
            }
            for one in table.differences
        ]
    if scores:
        record["scores"] = [_scoreboard(one) for one in scores]
    return record | {key: value for key, value in more.items() if value is not None}


def spent_record(requests: int, now: Usage, in_all: Usage) -> dict[str, Any]:
    """What an API has cost.

    Args:
        requests: sent now, the failed ones too.
        now: answers paid for now.
        in_all: answers that the verdicts rest on, those of earlier calls too.
    """
    return {"requests": requests, "now": _usage(now), "in_all": _usage(in_all)}


def _scoreboard(board: Scoreboard) -> dict[str, Any]:
    turns = {str(turn): _score(score) for turn, score in board.turns}
    return {"model": board.model, "judge": board.judge, "turns": turns, "overall": _score(board.overall)}


def _score(score: Score) -> dict[str, Any]:
    mean = score.mean
    return {
        "mean": None if mean is None else mean.value,
        "interval": None if mean is None or mean.units < 2 else list(mean.interval),
        "n": score.count,
        "n_without_score": score.unread,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "answers": usage.answers,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "answers_without_tokens": usage.uncounted,
        "cost": usage.cost,
    }


def _contest(contest: Contest) -> dict[str, Any]:
    comparison = contest.comparison
    rate, orders, lengths = comparison.win_rate(), comparison.orders(), comparison.mean_lengths()
    return {
        "model": comparison.model,
        "baseline": comparison.baseline,
        "judge": comparison.judge,
        **_counts(comparison),
        **({} if contest.matching is None else {"not_matched": _not_matched(contest.matching)}),
        "win_rate": None if rate is None else _win_rate(rate),
        "length_controlled": _length_controlled(comparison.length_controlled()),
        "mean_characters": None if lengths is None else {"model": lengths[0], "baseline": lengths[1]},
        "position": None if orders is None else _position(orders),
    }


def _counts(comparison: Comparison) -> dict[str, Any]:
    counts = comparison.counts
    return {
        "n_total": len(comparison.judgements),
        "n_valid": counts[Status.VALID],
        "n_invalid": counts[Status.INVALID],
        "n_error": counts[Status.ERROR],
        "n_not_asked": counts[Status.NOT_ASKED],
        "questions_without_verdict": dict(comparison.reasons),
    }


def _not_matched(matching: Matching) -> dict[str, Any]:
    return {
        side: {"count": len(instructions), "instructions": list(instructions[:_MOST_INSTRUCTIONS])}
        for side, instructions in (("model", matching.only_model), ("baseline", matching.only_baseline))
    }


def _win_rate(rate: WinRate) -> dict[str, Any]:
    return {
        "value": rate.rate,
        "interval": list(rate.interval),
        "method": rate.method,
        "standard_error": None if math.isnan(rate.standard_error) else rate.standard_error,
        "wins": rate.wins,
        "ties": rate.ties,
        "losses": rate.losses,
        "sign_test_p_value": rate.p_value,
        "conclusive": rate.interval.excludes(0.5),
    }


def _length_controlled(figure: LengthControlled | None) -> dict[str, Any] | None:
    if figure is None:
        return None
    return {
        "value": figure.rate,
        "interval": list(figure.interval),
        "length_effect": figure.length_effect,
        "length_effect_interval": list(figure.length_effect_interval),
        "fitted_to": "the verdicts of this comparison alone",
    }


def _position(orders: BothOrders) -> dict[str, Any]:
    return {
        "consistent": _rate(orders.consistent),
        "first_slot": _rate(orders.first_slot),
        "second_slot": _rate(orders.second_slot),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    interval: Interval = rate.interval
    return {"value": rate.value, "hits": rate.hits, "trials": rate.trials, "interval": list(interval)}
