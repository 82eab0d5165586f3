"""The judge: the response with the higher value is better, and they are tied only if the values are equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orpo.data.rendering import Dropped
from orpo.judging.reward.fitness import Fitness, Standing, fitness_of
from orpo.judging.reward.model import RewardModel, open_reward_model
from orpo.judging.verdicts import Question, Status, Verdict, preferring

Progress = Callable[[int, int], None]
"""Is told how many responses have their values, and of how many."""

_EMPTY = -math.inf
"""The value of a response without text: training data has none, and it loses to any other."""


@dataclass(frozen=True)
class Asked:
    """The responses that a judge was asked about."""

    responses: int
    """Different ones, each valued once."""

    cut: int
    """Longer, with their prompts, than the model reads."""

    empty: int
    """Without text: not valued, and worse than any other."""


class RewardJudge:
    """Says which of two responses a reward model gives the higher value.

    Args:
        model: gives values.
        fitness: what is known of it.
        progress: is told of each batch of responses.
    """

    both_orders = False

    def __init__(self, model: RewardModel, fitness: Fitness, progress: Progress) -> None:
        self.fitness = fitness
        self.model_name = self.name = model.name
        if fitness.standing is not Standing.FIT:  # wherever its verdicts go, this goes with them
            self.name += f" ({fitness.standing.words})"
        self._model = model
        self._progress = progress
        self._values: dict[tuple[str, str], float | Dropped] = {}
        self._cut = 0

    @property
    def asked(self) -> Asked:
        """What it was asked about until now."""
        empty = sum(value == _EMPTY for value in self._values.values())
        return Asked(len(self._values), self._cut, empty)

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict for each question; one without a value for a response is invalid.

        Raises:
            ResourceError, NumericsError, DataError, ConfigError: see `RewardModel`.
        """
        self._value(dict.fromkeys((one.instruction, text) for one in questions for text in _texts(one)))
        return [self._verdict(one) for one in questions]

    def _value(self, wanted: dict[tuple[str, str], None]) -> None:
        missing = [one for one in wanted if one not in self._values]
        self._values |= {one: _EMPTY for one in missing if not one[1].strip()}
        texts = [one for one in missing if one not in self._values]
        found = self._model(texts, lambda done: self._progress(done, len(texts)))
        for key, one in zip(texts, found, strict=True):
            self._values[key] = one if isinstance(one, Dropped) else one.value
            self._cut += not isinstance(one, Dropped) and one.is_cut

    def _verdict(self, question: Question) -> Verdict:
        first, second = (self._values[question.instruction, text] for text in _texts(question))
        if isinstance(first, Dropped) or isinstance(second, Dropped):
            reason = next(one.reason for one in (first, second) if isinstance(one, Dropped))
            return Verdict(Status.INVALID, reason=reason)
        preference = 0.5 if first == second else float(first > second)
        margin = first - second
        return preferring(preference, margin=margin if math.isfinite(margin) else None)


def _texts(question: Question) -> tuple[str, str]:
    return question.first, question.second


def reward_judge(name: str, *, held_out: str | None = None, progress: Progress) -> RewardJudge:
    """The reward model of a name as a judge, and whether it may be one.

    Args:
        name: see `open_reward_model`.
        held_out: see `fitness_of`.
        progress: is told how many responses have their values, those of held-out pairs first.

    Raises:
        OrpoError: see `open_reward_model` and `fitness_of`.
    """
    model = open_reward_model(name)
    return RewardJudge(model, fitness_of(model, held_out, lambda done: progress(done, done)), progress)
