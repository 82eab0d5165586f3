"""From what users have to what models read: rows, examples, token ids, micro-batches."""

from orpo.data.holdout import hold_out, prompt_key
from orpo.data.pairs import Example, Message, Pair, RowCounts, Single
from orpo.data.read import SourceStream, read_examples, stream_examples
from orpo.data.sources import open_source
from orpo.data.spec import MemorySource, SourceSpec
from orpo.data.table import ExampleTable, SourceReport

__all__ = [
    "Example",
    "ExampleTable",
    "MemorySource",
    "Message",
    "Pair",
    "RowCounts",
    "Single",
    "SourceReport",
    "SourceSpec",
    "SourceStream",
    "hold_out",
    "open_source",
    "prompt_key",
    "read_examples",
    "stream_examples",
]
