"""What every side is given: real pairs in a seeded order, and a randomly initialised model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from orpo.batch import Layout
from orpo.data import RowCounts, read_examples
from orpo.data.batching import epoch_order, tokens_held
from orpo.data.pairs import TokenizedPair
from orpo.data.shards import tokenize_examples
from orpo.data.templates import Template
from orpo.data.tokenized import ShardBuilder, TokenizedPairs
from orpo.data.tokens import PairTokenizer

SHARED = Path(os.environ.get("ORPO_SHARED", Path(__file__).resolve().parents[3] / "shared"))
"""Folder with `data/` and `models/`; `../shared` beside the repository unless ORPO_SHARED names another."""

DATASETS = {"hh": "hh_rlhf_harmless", "alpaca": "alpaca_eval"}
"""Folders in `shared/data`."""

SEED = 0


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    model: str
    """Folder in `shared/models` whose configuration and tokenizer are used; the weights are random."""

    layers: int

    max_length: int
    """Tokens of prompt + response; longer responses are cut."""

    rows: int | None
    """Rows of the data that are read; None for all."""

    batch_size: int = 8
    """Pairs per optimizer step."""


SIZES = {
    "full": Size(model="bench26m", layers=8, max_length=1024, rows=None),
    "smoke": Size(model="stories260k", layers=2, max_length=64, rows=200),
}


@dataclass(frozen=True)
class Workload:
    """Global batches of pairs for a model."""

    size: Size

    pairs: TokenizedPairs
    """Whole global batches, in the order in which they are used."""

    def __len__(self) -> int:
        return len(self.pairs) // self.size.batch_size

    def batches(self, places: Iterable[int]) -> Workload:
        """The batches at `places`, in that order."""
        size = self.size.batch_size
        rows = [row for place in places for row in range(place * size, (place + 1) * size)]
        return Workload(self.size, self.pairs.select(rows))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the pairs' ids are of."""
        return AutoTokenizer.from_pretrained(SHARED / "models" / self.size.model)

    def new_model(self) -> PreTrainedModel:
        """A float32 model, with the same weights on every call."""
        config = AutoConfig.from_pretrained(
            SHARED / "models" / self.size.model, num_hidden_layers=self.size.layers
        )
        torch.manual_seed(SEED)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)

    def largest(self) -> int:
        """Where the batch with most tokens is."""
        tokens = [batch["packed"] for batch in self.describe()]
        return tokens.index(max(tokens))

    def describe(self) -> list[dict[str, int]]:
        """Tokens of each batch: its segments, and what each layout holds."""
        return [
            dict(zip(("prompt", "chosen", "rejected"), pairs.lengths.sum(axis=0).tolist(), strict=True))
            | {layout.value: tokens_held(pairs.lengths, layout) for layout in Layout}
            for pairs in (self.batches([place]).pairs for place in range(len(self)))
        ]

    def save(self, path: Path) -> None:
        """Write the pairs for another process to load."""
        record = {"stop_id": self.pairs.stop_ids[0], "pairs": [asdict(pair) for pair in self.pairs]}
        path.write_text(json.dumps(record), encoding="utf-8")

    @classmethod
    def load(cls, size: Size, path: Path) -> Workload:
        """What `save` wrote."""
        record = json.loads(path.read_text(encoding="utf-8"))
        builder = ShardBuilder()
        for row in record["pairs"]:
            prompt, chosen, rejected = (tuple(row[name]) for name in ("prompt", "chosen", "rejected"))
            builder.add(TokenizedPair(prompt, chosen, rejected, row["where"]), record["stop_id"])
        return cls(size, TokenizedPairs.of([builder.build()], sorted(builder.stop_ids)))


def read_workload(dataset: str, size: Size, batches: int) -> Workload:
    """`batches` global batches of a data set, drawn without replacement in a seeded order."""
    table = read_examples([islice(_rows(dataset), size.rows)], role="train", transcripts="text")
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models" / size.model)
    pair_tokenizer = PairTokenizer(tokenizer, Template("none", None), max_length=size.max_length)
    pairs = tokenize_examples(table, pair_tokenizer, RowCounts())
    order = epoch_order(len(pairs), seed=SEED, epoch=0, shuffle=True)
    return Workload(size, pairs.select(order[: batches * size.batch_size]))


def _rows(dataset: str) -> Iterator[dict[str, Any]]:
    """Rows as people have them: transcripts, and judgements turned into pairs."""
    with (SHARED / "data" / DATASETS[dataset] / "train.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if dataset == "alpaca":
                outputs = (row["output_1"], row["output_2"])
                chosen, rejected = outputs if row["preference"] < 1.5 else outputs[::-1]
                row = {"prompt": row["instruction"] + "\n\n", "chosen": chosen, "rejected": rejected}
            yield row
