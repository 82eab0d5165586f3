"""Signs that a run does not do what it is for: each is said once, with what to do about it.

They are read from the rows of the logs, so looking costs a step nothing.  A rule speaks only where the noise
of what it looks at does not explain it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import ttest_ind

from orpo.statistics.intervals import wilson

PAIRS_TO_TELL = 400
"""Pairs from which on a share near a half is known to five percent points."""

ROWS_TO_TELL = 8
"""Rows of the logs from which on their scatter is known."""

SURE = 1e-4
"""Probability of a rule's speaking by chance; small, because it looks at every row."""

SPIKE = 6.0
"""Standard deviations above the mean from which on a loss is a spike."""

SATURATED = 0.01
FAINT_SHARE = 0.01
"""Shares of pairs, and of the gradient, that are worth a word."""

SETTLED = 0.9
"""Pair accuracy from which on a small pull is a sign of success."""

LOSS, ACCURACY, CHOSEN = "loss", "rewards/accuracies", "logps/chosen"
SATURATION, SHARE = "odds_saturated", "preference_share"


@dataclass(frozen=True)
class Row:
    """What is looked at of a row of train metrics."""

    step: int

    pairs: float
    """That have both responses, by weight."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Sign:
    """What was noticed, and what to do about it."""

    name: str
    step: int
    message: str
    advice: str


Rule = Callable[[Sequence[Row]], str | None]
"""What the rows so far show, in words, or None."""


class Health:
    """Looks at the rows of a run as they are logged.

    Args:
        total_steps: of the run.
        compares: whether the objective compares responses, so that accuracy is what it is for.
    """

    def __init__(self, total_steps: int, *, compares: bool) -> None:
        self._compares = compares
        self.signs: list[Sign] = []
        self._rows: list[Row] = []
        self._pairs = 0.0
        self._early = total_steps / 4

    def saw(self, pairs: float) -> None:
        """Count the pairs of a step."""
        self._pairs += pairs

    def look(self, step: int, metrics: Mapping[str, float]) -> list[Sign]:
        """What a new row shows that was not said before."""
        looked_at = (LOSS, ACCURACY, CHOSEN, SATURATION, SHARE)
        kept = {name: metrics[name] for name in looked_at if name in metrics}
        self._rows.append(Row(step, self._pairs, kept))
        self._pairs = 0.0
        said = {sign.name for sign in self.signs}
        late = [row for row in self._rows if row.step > self._early]
        new = [
            Sign(name, step, message, advice)
            for name, rule, rows, advice in (
                ("accuracy-at-chance", at_chance, late, _AT_CHANCE),
                ("chosen-falls", chosen_falls, self._rows, _CHOSEN_FALLS),
                ("odds-saturate", saturated, self._rows, _SATURATED),
                ("faint-preference", faint, late, _FAINT),
                ("loss-spike", spike, self._rows, _SPIKE),
            )
            if (self._compares or name != "accuracy-at-chance")
            and name not in said
            and (message := rule(rows)) is not None
        ]
        self.signs += new
        return new

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as JSON holds it."""
        return {
            "signs": [asdict(sign) for sign in self.signs],
            "rows": [asdict(row) for row in self._rows],
            "pairs": self._pairs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` has said."""
        self.signs = [Sign(**sign) for sign in state["signs"]]
        self._rows = [Row(**row) for row in state["rows"]]
        self._pairs = state["pairs"]


_AT_CHANCE = (
    "Labels that are noise or the wrong way round look so (`orpo data check`), as do a learning rate and an "
    "objective.lambda or objective.beta that are too small."
)
_CHOSEN_FALLS = (
    "The model unlearns the responses that it should prefer. Lower training.learning_rate, or use an "
    "objective with a supervised term, such as ORPO."
)
_SATURATED = "The model knows responses by heart. Train for fewer epochs, and look for very short responses."
_FAINT = "The preferences hardly count beside the supervised term. Raise objective.lambda."
_SPIKE = "Look at the rows of these steps, or lower training.learning_rate."


def at_chance(rows: Sequence[Row]) -> str | None:
    """Pair accuracy that is a half, as far as some hundred pairs can tell (Wilson's interval)."""
    recent = _recent(rows, ACCURACY)
    if recent is None or _has_no_preferences(rows):
        return None
    share, pairs = recent
    if wilson(share * pairs, round(pairs)).excludes(0.5):
        return None
    return f"pair accuracy is {share:.3f} over the last {pairs:.0f} pairs, which is chance"


def chosen_falls(rows: Sequence[Row]) -> str | None:
    """A log-probability of the chosen responses that is lower than at first (Welch's test of the rows)."""
    values = [row.metrics[CHOSEN] for row in rows if CHOSEN in row.metrics]
    if len(values) < ROWS_TO_TELL:
        return None
    number = max(ROWS_TO_TELL // 2, len(values) // 4)
    first, last = values[:number], values[-number:]
    if max(*first, *last) == min(*first, *last):
        return None
    fall: Any = ttest_ind(last, first, equal_var=False, alternative="less")
    if fall.pvalue > SURE:
        return None
    before, now = statistics.fmean(first), statistics.fmean(last)
    return f"the mean log-probability of chosen responses has fallen from {before:.3f} to {now:.3f}"


def saturated(rows: Sequence[Row]) -> str | None:
    """Responses that are so likely that their odds are capped."""
    share = rows[-1].metrics.get(SATURATION, 0.0)
    return f"the odds of {share:.1%} of the pairs are at their cap" if share > SATURATED else None


def faint(rows: Sequence[Row]) -> str | None:
    """A preference term that hardly pulls although many pairs are wrong; see `ORPO` for the estimate."""
    pull, accuracy = _recent(rows, SHARE), _recent(rows, ACCURACY)
    if pull is None or accuracy is None or _has_no_preferences(rows):
        return None
    if pull[0] >= FAINT_SHARE or accuracy[0] >= SETTLED:
        return None
    return f"lambda * L_OR has about {pull[0]:.2%} of the gradient, and pair accuracy is {accuracy[0]:.3f}"


def spike(rows: Sequence[Row]) -> str | None:
    """A loss far above those before."""
    *before, last = [(row.step, row.metrics[LOSS]) for row in rows]
    if len(before) < ROWS_TO_TELL:
        return None
    losses = [loss for _, loss in before]
    limit = statistics.fmean(losses) + SPIKE * statistics.stdev(losses)
    if last[1] <= limit:
        return None
    return f"the loss of steps {before[-1][0] + 1} to {last[0]} is {last[1]:.4f}, far above those before"


def _recent(rows: Sequence[Row], name: str) -> tuple[float, float] | None:
    """The mean of a metric over the last rows with enough pairs to tell, and their number, if there are."""
    total = pairs = 0.0
    for row in reversed(rows):
        if name in row.metrics:
            total, pairs = total + row.pairs * row.metrics[name], pairs + row.pairs
        if pairs >= PAIRS_TO_TELL:
            return total / pairs, pairs
    return None


def _has_no_preferences(rows: Sequence[Row]) -> bool:
    """Whether the loss does not compare responses, as with objective.lambda=0."""
    return rows[-1].metrics.get(SHARE) == 0
