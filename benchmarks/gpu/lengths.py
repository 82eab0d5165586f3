#!/usr/bin/env python3
"""Write hh_lengths.json: how long the prompts and responses of real preference pairs are.

    python benchmarks/gpu/lengths.py FOLDER_OF_HH_HARMLESS TOKENIZER

The folder holds train.jsonl of HH-RLHF's harmless split; pairs above 1,024 tokens in a branch are cut, as in
training.  Only lengths are written, so the file can travel to a machine without data and tokenizers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from transformers import AutoTokenizer

from orpo.data import RowCounts, read_examples
from orpo.data.shards import tokenize_examples
from orpo.data.templates import Template
from orpo.data.tokens import PairTokenizer

PAIRS = 1000
MAX_LENGTH = 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("tokenizer", type=Path)
    arguments = parser.parse_args()

    lines = (arguments.folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    table = read_examples([iter(map(json.loads, lines))], role="train", transcripts="text")
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    pair_tokenizer = PairTokenizer(tokenizer, Template("none", None), max_length=MAX_LENGTH)
    pairs = tokenize_examples(table, pair_tokenizer, RowCounts())
    record = {
        "source": "HH-RLHF harmless-base, the first pairs of the benchmark's training file",
        "tokenizer": f"{arguments.tokenizer.name}, {len(tokenizer)} tokens",
        "max_length": MAX_LENGTH,
        "columns": ["prompt", "chosen", "rejected"],
        "lengths": pairs.lengths[:PAIRS].tolist(),
    }
    path = Path(__file__).with_name("hh_lengths.json")
    path.write_text(json.dumps(record, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
