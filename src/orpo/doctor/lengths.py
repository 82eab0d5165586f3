"""How long prompts and responses are, and whether length gives the label away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orpo.data.pairs import Pair, Single
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.words import prompt_text
from orpo.statistics.rates import Rate

LENGTH_BIAS = Problem(
    "length_bias",
    Severity.WARNING,
    "length alone predicts the label",
    "A model can lower its loss by writing longer (or shorter) responses. Balance the lengths, or judge the "
    "aligned model with a length-controlled win rate.",
)

BIASED = 0.6
"""Length is a rule where the whole interval is above this share, or below one minus it."""

Unit = Literal["characters", "tokens"]
PairLengths = NDArray[np.int64]
"""(N, 3): prompt, chosen and rejected response of each example; 0 for what a single response lacks."""

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_BINS = 24


@dataclass(frozen=True)
class Lengths:
    """The distribution of the lengths of one segment."""

    segment: str
    """`prompt`, `chosen`, `rejected`, or `response` for single ones."""

    unit: Unit
    mean: float
    quantiles: tuple[int, ...]
    """Shortest, 5 %, median, 95 %, longest."""

    edges: tuple[float, ...]
    """Edges of the histogram's bins, evenly spaced in the logarithm, the same for all segments."""

    counts: tuple[int, ...]
    """Examples in each bin, one fewer than the edges."""


def character_lengths(items: Sequence[Pair | Single]) -> PairLengths:
    """(N, 3) lengths in characters."""
    rows = [(len(prompt_text(item.prompt)), *_response_lengths(item)) for item in items]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _response_lengths(item: Pair | Single) -> tuple[int, int]:
    if isinstance(item, Pair):
        return len(item.chosen), len(item.rejected)
    return (len(item.response), 0) if item.is_desirable else (0, len(item.response))


def summarise(lengths: PairLengths, unit: Unit) -> tuple[Lengths, ...]:
    """The distributions of the lengths of at least one example."""
    edges = np.geomspace(1, max(2, lengths.max() + 1), _BINS + 1)
    return tuple(
        Lengths(
            segment=segment,
            unit=unit,
            mean=float(values.mean()),
            quantiles=tuple(int(q) for q in np.quantile(values, _QUANTILES, method="nearest")),
            edges=tuple(edges.tolist()),
            # An empty prompt is in the first bin.
            counts=tuple(int(n) for n in np.histogram(np.maximum(values, 1), edges)[0]),
        )
        for segment, values in _segments(lengths).items()
    )


def _segments(lengths: PairLengths) -> Mapping[str, NDArray[np.int64]]:
    """The lengths of what is there of each kind, at least one."""
    prompt, chosen, rejected = lengths.T
    is_pair = (chosen > 0) & (rejected > 0)
    segments = {
        "prompt": prompt,
        "chosen": chosen[is_pair],
        "rejected": rejected[is_pair],
        "response": (chosen + rejected)[~is_pair],
    }
    return {segment: values for segment, values in segments.items() if len(values)}


def longer_is_chosen(lengths: PairLengths) -> Rate:
    """How often the longer response is the chosen one; pairs of equal lengths say nothing."""
    difference = lengths[:, 1] - lengths[:, 2]
    return Rate(int((difference > 0).sum()), int((difference != 0).sum()))


def length_biased(rate: Rate, pairs: Sequence[Pair], lengths: PairLengths) -> list[Example]:
    """The pairs that follow the rule which length is, the clearest first; none where it is no rule."""
    low, high = rate.interval
    if low > BIASED:
        sign = 1
    elif high < 1 - BIASED:
        sign = -1
    else:
        return []
    difference = sign * (lengths[:, 1] - lengths[:, 2])
    order = np.argsort(-difference, kind="stable")
    return [
        example(pairs[i].where, f"chosen {lengths[i, 1]}, rejected {lengths[i, 2]}: {pairs[i].chosen}")
        for i in order.tolist()
        if difference[i] > 0
    ]
