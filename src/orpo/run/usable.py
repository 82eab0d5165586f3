"""The rows of a run that its objective can use, and a word about the others."""

from __future__ import annotations

import logging

from orpo.batch import Rows
from orpo.data.tokenized import TokenizedPairs
from orpo.data.usable import evaluated, learnt
from orpo.errors import DataError
from orpo.run.data import PreparedData

log = logging.getLogger(__name__)

_NEEDS = {
    Rows.ANSWERED: "rows with a chosen response",
    Rows.CHOSEN: "rows with a chosen response",
    Rows.PAIRS: "pairs of a chosen and a rejected response",
    Rows.RESPONSES: "responses, each by itself",
}


def usable_pairs(
    data: PreparedData, rows: Rows, objective: str
) -> tuple[TokenizedPairs, TokenizedPairs | None]:
    """The training rows and the held-out rows that an objective can use.

    Args:
        data: what was prepared.
        rows: what the objective learns from.
        objective: its name, for messages.

    Raises:
        DataError: there are none.
    """
    train = _used("train", data.train, learnt(data.train, rows), rows, objective)
    if data.eval is None:
        return train, None
    return train, _used("eval", data.eval, evaluated(data.eval, rows), rows, objective)


def _used(
    use: str, given: TokenizedPairs, usable: TokenizedPairs, rows: Rows, objective: str
) -> TokenizedPairs:
    if not len(usable):
        raise DataError(
            f"{use}: {objective} learns from {_NEEDS[rows]}, and none of {len(given)} rows is one",
            hint="Choose other data, or another objective.name.",
        )
    if len(usable) != len(given):
        log.info(
            "%s: %s learns from %s: %d of %d rows", use, objective, _NEEDS[rows], len(usable), len(given)
        )
    singles = int((usable.lengths[:, 2] == 0).sum())
    if rows is Rows.ANSWERED and singles:
        log.info("%s: %d single responses join the supervised term only", use, singles)
    return usable
