"""Which tokenised rows an objective learns from, and which it is evaluated on."""

from __future__ import annotations

import numpy as np

from orpo.batch import Rows
from orpo.data.tokenized import Side, TokenizedPairs


def learnt(pairs: TokenizedPairs, rows: Rows) -> TokenizedPairs:
    """What an objective that learns from `rows` is trained on; a pair may become a row per response."""
    has_chosen, has_rejected = (pairs.lengths[:, 1:] > 0).T
    match rows:
        case Rows.ANSWERED:
            return pairs.select(np.flatnonzero(has_chosen))
        case Rows.CHOSEN:
            return pairs.select(np.flatnonzero(has_chosen)).only(Side.CHOSEN)
        case Rows.PAIRS:
            return pairs.select(np.flatnonzero(has_chosen & has_rejected))
        case Rows.RESPONSES:
            at, side = np.nonzero(pairs.lengths[:, 1:])
            return pairs.select(at).only(np.where(side == 0, Side.CHOSEN, Side.REJECTED))


def evaluated(pairs: TokenizedPairs, rows: Rows) -> TokenizedPairs:
    """What it is evaluated on: pairs stay whole, so that their responses can be compared."""
    match rows:
        case Rows.CHOSEN:
            return learnt(pairs, Rows.ANSWERED)
        case Rows.RESPONSES:
            return pairs
        case _:
            return learnt(pairs, rows)
