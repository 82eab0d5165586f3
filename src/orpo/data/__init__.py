"""From what users have to what models read: rows, preference pairs, token ids, micro-batches."""

from orpo.data.pairs import Message, Pair, RowCounts
from orpo.data.read import read_pairs
from orpo.data.sources import open_source
from orpo.data.spec import SourceSpec
from orpo.data.table import PairTable, SourceReport, hold_out

__all__ = [
    "Message",
    "Pair",
    "PairTable",
    "RowCounts",
    "SourceReport",
    "SourceSpec",
    "hold_out",
    "open_source",
    "read_pairs",
]
