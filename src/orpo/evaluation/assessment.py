"""What a reward model's values on held-out pairs say of it: whether it is right, and as often as it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orpo.data.tokenized import TokenizedPairs
from orpo.statistics.calibration import calibrate_margins
from orpo.statistics.fitness import fitness_to_judge
from orpo.statistics.winrate import WinRate


def assess(values: NDArray[np.float32], pairs: TokenizedPairs) -> dict[str, Any]:
    """Accuracy beside that of looking at length only, and calibration.

    Args:
        values: (N, 2) values of chosen and rejected responses.
        pairs: the N held-out pairs.

    Returns:
        What summary.json holds of it; `calibration` is None if no two values differ.
    """
    margins = values[:, 0].astype(np.float64) - values[:, 1]
    return assess_margins(margins, pairs.lengths[:, 1], pairs.lengths[:, 2], pairs.prompt_keys())


def assess_margins(
    margins: NDArray[np.float64],
    chosen_lengths: ArrayLike,
    rejected_lengths: ArrayLike,
    prompt_keys: Sequence[bytes],
) -> dict[str, Any]:
    """See `assess`.

    Args:
        margins: (N,) value of the chosen response less that of the rejected one.
        chosen_lengths: (N,) in tokens.
        rejected_lengths: (N,) the same.
        prompt_keys: (N,) what tells prompts apart.
    """
    numbers: dict[bytes, int] = {}
    prompts = [numbers.setdefault(key, len(numbers)) for key in prompt_keys]
    fitness = fitness_to_judge(margins, chosen_lengths, rejected_lengths, clusters=prompts)
    return {
        "pairs": len(margins),
        "accuracy": _rate(fitness.accuracy),
        "by_length": {"rule": fitness.rule, **_rate(fitness.rule_accuracy), "p_value": fitness.p_value},
        "fit_to_judge": bool(fitness.fit),
        "calibration": _calibration(margins) if margins.any() else None,
    }


def _rate(found: WinRate) -> dict[str, float]:
    return {"rate": found.rate, "low": found.interval.low, "high": found.interval.high}


def _calibration(margins: NDArray[np.float64]) -> dict[str, Any]:
    found = calibrate_margins(margins)
    bins = [
        {"confidence": one.confidence, "accuracy": one.accuracy.value, "pairs": one.accuracy.trials}
        for one in found.bins
    ]
    return {"expected_error": found.error, "brier": found.brier.value, "bins": bins}
