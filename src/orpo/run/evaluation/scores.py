"""Scores of held-out pairs under a finished model, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from orpo.errors import NumericsError
from orpo.evaluation.assessment import assess
from orpo.evaluation.figures import length_averages, pairs_evaluation
from orpo.evaluation.scoring import log_probs, score_responses, values
from orpo.modeling.engine import build_scorer
from orpo.modeling.padding import padding_id
from orpo.ops.distributed import World
from orpo.run.evaluation.held_out import EvaluationPairs
from orpo.run.evaluation.subject import EvaluatedModel
from orpo.rundir.evaluations import PairRow, PairsEvaluation, PairSide
from orpo.rundir.records import Assessment
from orpo.training.budget import scoring_budget
from orpo.training.progress import counting

Scores = NDArray[np.float32]
"""(N, 2) of chosen and rejected responses: sums of log-probabilities, or rewards."""


def score_pairs(
    subject: EvaluatedModel, pairs: EvaluationPairs, world: World, console: Console | None
) -> Scores:
    """Scores as training computes them.

    Args:
        subject: the model.
        pairs: N of them.
        world: this process, alone.
        console: where to show progress; None shows none.

    Raises:
        NumericsError: a score is not finite.
        ResourceError: a single pair does not fit into memory.
    """
    scorer = build_scorer(
        subject.model,
        layout="auto",
        max_length=subject.max_length,
        kind=subject.kind,
        products=subject.dtype,
    )

    def attempt(max_tokens: int, on_forward: Callable[[], None]) -> Scores:
        return score_responses(
            scorer,
            pairs.tokens,
            values if subject.kind.is_reward else log_probs,
            pad_id=padding_id(subject.tokenizer),
            max_tokens=max_tokens,
            world=world,
            dtype=subject.dtype,
            on_forward=on_forward,
        )

    with counting(console, "scoring pairs: forward passes") as advance:
        scores = scoring_budget("auto", world).fit(attempt, lambda: advance(1), step=0, during="evaluation")
    if not np.isfinite(scores).all():
        first = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise NumericsError(
            f"the scores of {pairs.tokens[first].where} are not finite: {scores[first].tolist()}",
            hint="Try --dtype float32. If that does not help, the weights are damaged.",
        )
    return scores


def pair_figures(subject: EvaluatedModel, pairs: EvaluationPairs, scores: Scores) -> PairsEvaluation:
    """Means over the pairs, with their intervals."""
    return pairs_evaluation(
        scores,
        pairs.tokens.lengths[:, 1:],
        pairs.prompt_numbers,
        pairs.sources,
        are_rewards=subject.kind.is_reward,
    )


def assessment_of(subject: EvaluatedModel, pairs: EvaluationPairs, scores: Scores) -> Assessment | None:
    """Whether a reward model may judge; None of a language model."""
    return (
        Assessment.model_validate(assess(scores, pairs.tokens), strict=False)
        if subject.kind.is_reward
        else None
    )


def pair_rows(subject: EvaluatedModel, pairs: EvaluationPairs, scores: Scores) -> Iterator[PairRow]:
    """What is stored of each pair."""
    averages = length_averages(scores, pairs.tokens.lengths[:, 1:])
    for index, (pair, source) in enumerate(zip(pairs.tokens, pairs.sources, strict=True)):
        prompt = subject.tokenizer.decode(list(pair.prompt))
        assert isinstance(prompt, str)
        sides: dict[str, Any] = {}
        for column, side in enumerate(("chosen", "rejected")):
            score = float(scores[index, column])
            told = (
                {"reward": score}
                if subject.kind.is_reward
                else {"logp": float(averages[index, column]), "logp_sum": score}
            )
            sides[side] = PairSide(tokens=int(pairs.tokens.lengths[index, 1 + column]), **told)
        yield PairRow(index=index, source=source, where=pair.where, prompt=prompt, **sides)
