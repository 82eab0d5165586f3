"""Whether a reward model may judge, asked of whoever knows: its run, or pairs that were held out for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from orpo.data import prompt_key, stream_examples
from orpo.data.pairs import Pair
from orpo.data.rendering import Dropped
from orpo.errors import DataError
from orpo.evaluation.assessment import assess_margins
from orpo.judging.reward.model import Rewarded, RewardModel
from orpo.rundir.records import Assessment

NO_COUNTERPART = "no counterpart"
CUT = "cut, and used"


class Standing(StrEnum):
    """What is known of a judge."""

    FIT = "fit"
    UNFIT = "unfit"
    UNKNOWN = "not known"

    @property
    def words(self) -> str:
        """The same for people."""
        return _WORDS[self]


_WORDS = {
    Standing.FIT: "fit to judge",
    Standing.UNFIT: "UNFIT to judge",
    Standing.UNKNOWN: "not known to be fit to judge",
}


@dataclass(frozen=True)
class Fitness:
    """What is known of a judge, and from where."""

    source: str
    """For people; empty where nothing is known."""

    assessment: Assessment | None
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Held-out rows that were not used, or not as they are, by reason."""

    @property
    def standing(self) -> Standing:
        """The word for it."""
        if self.assessment is None:
            return Standing.UNKNOWN
        return Standing.FIT if self.assessment.fit_to_judge else Standing.UNFIT


def fitness_of(model: RewardModel, held_out: str | None, on_done: Callable[[int], None]) -> Fitness:
    """What is known of a reward model.

    Args:
        model: the judge.
        held_out: pairs that it was not trained on, to measure it now; None asks its run.
        on_done: called with the number of responses that have their values.

    Raises:
        DataError, ConfigError, NetworkError: the pairs cannot be read, or none can be used.
        ResourceError, NumericsError: see `RewardModel`.
    """
    if held_out is not None:
        return _measured(model, held_out, on_done)
    if model.assessment is not None:
        return Fitness(f"the summary of the run {model.name}", model.assessment)
    return Fitness("", None)


def _measured(model: RewardModel, held_out: str, on_done: Callable[[int], None]) -> Fitness:
    stream = stream_examples(held_out, role="eval", transcripts=model.write.transcripts)
    examples = list(stream.examples)
    pairs = [one for one in examples if isinstance(one, Pair)]
    both = [(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    found = model(both, on_done)
    dropped = Counter(stream.counts.dropped)
    dropped[NO_COUNTERPART] += len(examples) - len(pairs)
    keys: list[bytes] = []
    usable: list[tuple[Rewarded, Rewarded]] = []
    for pair, chosen, rejected in zip(pairs, found[::2], found[1::2], strict=True):
        if isinstance(chosen, Dropped) or isinstance(rejected, Dropped):
            dropped[next(one.reason for one in (chosen, rejected) if isinstance(one, Dropped))] += 1
            continue
        dropped[CUT] += chosen.is_cut or rejected.is_cut
        usable.append((chosen, rejected))
        keys.append(prompt_key(pair.prompt))
    if not usable:
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items() if number)
        raise DataError(f"{held_out}: no pair that the judge can be measured on ({reasons})")
    assessment = assess_margins(
        np.array([chosen.value - rejected.value for chosen, rejected in usable]),
        [chosen.tokens for chosen, _ in usable],
        [rejected.tokens for _, rejected in usable],
        keys,
    )
    return Fitness(held_out, Assessment.model_validate(assessment, strict=False), +dropped)
