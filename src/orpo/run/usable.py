"""The rows that an objective can use, and a word about the others."""

from __future__ import annotations

import logging

from orpo.batch import Rows
from orpo.data.spec import Role
from orpo.data.tokenized import TokenizedPairs
from orpo.data.usable import evaluated, learnt
from orpo.errors import DataError
from orpo.objectives import Objective

log = logging.getLogger(__name__)

_NEEDS = {
    Rows.ANSWERED: "rows with a chosen response",
    Rows.CHOSEN: "rows with a chosen response",
    Rows.PAIRS: "pairs of a chosen and a rejected response",
    Rows.RESPONSES: "responses, each by itself",
}


def usable(use: Role, given: TokenizedPairs, objective: Objective) -> TokenizedPairs:
    """What an objective can use of the rows that are there.

    Args:
        use: to learn from, or to be evaluated on.
        given: the rows.
        objective: what uses them.

    Raises:
        DataError: there are none.
    """
    rows, name = objective.rows, type(objective).__name__
    used = learnt(given, rows) if use == "train" else evaluated(given, rows)
    if not len(used):
        raise DataError(
            f"{use}: {name} learns from {_NEEDS[rows]}, and none of {len(given)} rows is one",
            hint="Choose other data, or another objective.name.",
        )
    if len(used) != len(given):
        log.info("%s: %s learns from %s: %d of %d rows", use, name, _NEEDS[rows], len(used), len(given))
    pairs, singles = len(used) - used.singles, used.singles
    if rows is Rows.ANSWERED and singles:
        said = "%s: %d pairs and %d single responses, which join the supervised term only"
        log.log(logging.INFO if pairs else logging.WARNING, said, use, pairs, singles)
    if rows is Rows.RESPONSES:
        chosen, rejected = (int((used.lengths[:, side] > 0).sum()) for side in (1, 2))
        if not chosen or not rejected:
            kind = "desirable" if chosen else "undesirable"
            log.warning(
                "%s: all %d responses are %s ones: there is no contrast to learn", use, len(used), kind
            )
    return used
