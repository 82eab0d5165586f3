"""Figures of pairs and responses with their intervals; what shares a prompt is one observation of several."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from orpo.objectives.terms import log_odds_ratio
from orpo.rundir.evaluations import Figure, LengthFigures, PairFigures, PairsEvaluation, SourceFigures
from orpo.statistics.bootstrap import bootstrap_mean
from orpo.statistics.intervals import Estimate, Floats, Interval
from orpo.statistics.winrate import win_rate

LENGTH_BUCKETS = 4
"""With about equally many pairs each."""


def mean(values: ArrayLike, prompts: ArrayLike | None = None, *, over: str = "prompts") -> Figure:
    """The mean of numbers.

    Args:
        values: (N,) at least one.
        prompts: (N,) labels, equal for values of one prompt; None if there is one of each.
        over: what the independent units are, in words.
    """
    return estimated(bootstrap_mean(values, clusters=prompts), over=over)


def estimated(found: Estimate, *, method: str = "BCa bootstrap", over: str = "prompts") -> Figure:
    """An estimate as it is stored."""
    return _figure(found.value, found.interval, f"{method} over {found.units} {over}")


def share(hits: ArrayLike, prompts: ArrayLike | None = None, *, over: str = "prompts") -> Figure:
    """The share of ones among zeros and ones; arguments as for `mean`."""
    found = win_rate(np.asarray(hits, dtype=np.float64), clusters=prompts)
    units = found.total if prompts is None else len(np.unique(np.asarray(prompts)))
    name = "Wilson" if found.method == "wilson" else "BCa bootstrap"
    return _figure(found.rate, found.interval, f"{name} over {units} {over}")


def _figure(value: float, interval: Interval, method: str) -> Figure:
    if not all(map(isfinite, interval)):
        return Figure(value=value, interval=None, method=None)
    return Figure(value=value, interval=(interval.low, interval.high), method=method)


def pairs_evaluation(
    scores: NDArray[np.float32],
    tokens: NDArray[np.int32],
    prompts: Sequence[int],
    sources: Sequence[str],
    *,
    are_rewards: bool,
) -> PairsEvaluation:
    """What N pairs say of a model, all together, by source and by length.

    Args:
        scores: (N, 2) of chosen and rejected responses: sums of log-probabilities, or rewards.
        tokens: (N, 2) of the responses.
        prompts: (N,) labels, equal for pairs of one prompt.
        sources: (N,) their names.
        are_rewards: which of the two the scores are.
    """
    columns = _rewards(scores) if are_rewards else _log_probabilities(scores, tokens)
    clusters, names = np.asarray(prompts), np.asarray(sources, dtype=object)
    longest = tokens.max(axis=1)

    def figures(rows: NDArray[np.bool_]) -> dict[str, Any]:
        taken = {name: values[rows] for name, values in columns.items()}
        labels = clusters[rows]
        return {
            "count": int(rows.sum()),
            **dict.fromkeys(_OPTIONAL),
            **{name: mean(values, labels) for name, values in taken.items() if name != "accuracy"},
            "accuracy": share(taken["accuracy"], labels),
        }

    everything = np.ones(len(scores), dtype=np.bool_)
    return PairsEvaluation(
        **figures(everything),
        by_source=tuple(
            SourceFigures(name=name, **figures(names == name)) for name in dict.fromkeys(sources)
        ),
        by_length=tuple(
            LengthFigures(bounds=(int(longest[rows].min()), int(longest[rows].max())), **figures(rows))
            for rows in _buckets(longest)
        ),
    )


_OPTIONAL = set(PairFigures.model_fields) - {"count", "accuracy", "margin"}


def _log_probabilities(sums: NDArray[np.float32], tokens: NDArray[np.int32]) -> dict[str, Floats]:
    """Figures of each pair, by the names that PairFigures has; as in training's metrics."""
    chosen, rejected = length_averages(sums, tokens).T
    log_odds = log_odds_ratio(torch.from_numpy(chosen.copy()), torch.from_numpy(rejected.copy()))
    return {
        "accuracy": (chosen > rejected).astype(np.float64),
        "margin": chosen.astype(np.float64) - rejected,
        "log_odds": log_odds.numpy().astype(np.float64),
        "logps_chosen": chosen.astype(np.float64),
        "logps_rejected": rejected.astype(np.float64),
    }


def length_averages(sums: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """(N, 2) means of log-probabilities over the tokens of each response."""
    return sums / tokens.astype(np.float32)


def _rewards(rewards: NDArray[np.float32]) -> dict[str, Floats]:
    chosen, rejected = rewards.T.astype(np.float64)
    return {
        "accuracy": (chosen > rejected).astype(np.float64),
        "margin": chosen - rejected,
        "rewards_chosen": chosen,
        "rewards_rejected": rejected,
    }


def _buckets(lengths: NDArray[np.int32]) -> list[NDArray[np.bool_]]:
    """Which pairs are in each bucket, the shortest first; equal lengths are in the same one."""
    inner = np.quantile(lengths, np.arange(1, LENGTH_BUCKETS) / LENGTH_BUCKETS, method="lower")
    bucket = np.searchsorted(inner, lengths, side="left")
    return [bucket == number for number in np.unique(bucket)]
