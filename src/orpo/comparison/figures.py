"""The figures of a comparison: of held-out pairs, of responses, and of their diversity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from orpo.comparison.evidence import Evidence
from orpo.comparison.measures import Measure, across_inputs, mean_of_items
from orpo.errors import DataError
from orpo.evaluation.embedders import Embedder
from orpo.rundir.evaluations import Evaluation, PairRow, ResponseRow
from orpo.statistics.diversity import per_input_similarity
from orpo.statistics.intervals import Floats
from orpo.statistics.ngrams import distinct_n, self_bleu, tokenize

ACCURACY, MARGIN, LOG_ODDS, CHOSEN, REJECTED = (
    "accuracy",
    "margin",
    "log_odds",
    "logps_chosen",
    "logps_rejected",
)
PER_INPUT, ACROSS_INPUTS = "per_input_similarity", "across_input_similarity"

_EPSILON = 2.0**-24
"""Least 1 - P in the odds, as where training computes in float32."""

_FEWEST, _FEWEST_ACROSS = 2, 3
"""Prompts that figures can rest on, and those that can be compared across."""


def all_measures(evidence: Evidence, embedder: Embedder | None) -> dict[str, Measure]:
    """Every figure by its name, of the systems that can be compared.

    Args:
        evidence: what there is.
        embedder: for diversity; None of fewer than two samples of a prompt.

    Raises:
        DataError: the systems were not evaluated on the same pairs and prompts, or on too few.
    """
    numbers = {"held-out pairs": len({row.prompt for row in evidence.pairs}), "prompts": evidence.prompts}
    for what, number in numbers.items():
        if number < _FEWEST:
            raise DataError(
                f"{what}: expected at least {_FEWEST} with different prompts, got {number}",
                hint="Nothing can be said about how sure a figure is that rests on one prompt.",
            )
    found = [*_of_pairs(evidence), *_of_responses(evidence)]
    if embedder is not None:
        found += _of_diversity(evidence, embedder)
    return {one.key: one for one in found}


def _of_pairs(evidence: Evidence) -> Iterator[Measure]:
    prompts = [row.prompt for row in evidence.pairs]
    both = {
        name: np.array([[_logps(row) for row in one.pairs] for one in evidence.evaluations(name)])
        for name in evidence.compared
    }
    for key, title, of in _PAIR_FIGURES:
        yield mean_of_items(
            key, title, "pairs", {name: of(*array.T).T for name, array in both.items()}, prompts
        )


def _logps(row: PairRow) -> tuple[float, float]:
    assert row.chosen.logp is not None
    assert row.rejected.logp is not None
    return row.chosen.logp, row.rejected.logp


def _log_odds(logps: Floats) -> Floats:
    return logps - np.log(np.maximum(-np.expm1(logps), _EPSILON))


_PAIR_FIGURES: tuple[tuple[str, str, Callable[[Floats, Floats], Floats]], ...] = (
    (ACCURACY, "pair accuracy", lambda chosen, rejected: (chosen > rejected).astype(np.float64)),
    (MARGIN, "margin of log-probability", lambda chosen, rejected: chosen - rejected),
    (LOG_ODDS, "log odds ratio", lambda chosen, rejected: _log_odds(chosen) - _log_odds(rejected)),
    (CHOSEN, "log-probability, chosen", lambda chosen, rejected: chosen),
    (REJECTED, "log-probability, rejected", lambda chosen, rejected: rejected),
)


def _of_responses(evidence: Evidence) -> Iterator[Measure]:
    """Means over the samples of each prompt."""
    by_prompt: dict[str, tuple[str, Callable[[Sequence[ResponseRow]], float]]] = {
        "truncated": ("share cut off", lambda rows: float(np.mean([row.truncated for row in rows]))),
        "characters": ("characters", lambda rows: float(np.mean([len(row.response) for row in rows]))),
    }
    if evidence.samples > 1:
        by_prompt |= {
            "distinct_2": ("distinct-2", lambda rows: distinct_n(_words(rows), 2) or 0.0),
            "self_bleu": ("self-BLEU", lambda rows: self_bleu(_words(rows))),
        }
    for key, (title, of) in by_prompt.items():
        values = {
            name: np.array([[of(rows) for rows in _by_prompt(one)] for one in evidence.evaluations(name)])
            for name in evidence.compared
        }
        yield mean_of_items(key, title, "prompts", values)


def _words(rows: Sequence[ResponseRow]) -> list[list[str]]:
    return [tokenize(row.response) for row in rows]


def _by_prompt(evaluation: Evaluation) -> list[list[ResponseRow]]:
    groups: dict[int, list[ResponseRow]] = {}
    for row in evaluation.responses:
        groups.setdefault(row.prompt_index, []).append(row)
    return list(groups.values())


def _of_diversity(evidence: Evidence, embedder: Embedder) -> Iterator[Measure]:
    shape = (len(evidence.seeds), evidence.prompts, evidence.samples, -1)
    embedded: Mapping[str, Floats] = {
        name: np.asarray([embedder.embed(texts) for texts in evidence.texts(name)], dtype=np.float64).reshape(
            shape
        )
        for name in evidence.compared
    }
    within = {
        name: np.stack([per_input_similarity(seed) for seed in array]) for name, array in embedded.items()
    }
    yield mean_of_items(PER_INPUT, "similarity within a prompt", "prompts", within)
    if evidence.prompts >= _FEWEST_ACROSS:
        firsts = {name: array[:, :, 0] for name, array in embedded.items()}
        yield across_inputs(ACROSS_INPUTS, "similarity across prompts", firsts)
