#!/usr/bin/env python3
"""Prepares the comparison of docs/examples: data, base model and configuration in a folder of their own.

    python benchmarks/compare.py FOLDER
    cd FOLDER && orpo compare compare-alpaca.yaml        # about an hour of one core

Systems are trained on the 800 short judgements of AlpacaEval that `objectives.py` has, and evaluated on its
127 held-out ones.  The judge is trained on judgements of other prompts, the short ones that are left and
longer ones.  Data and model are those of `../shared` (or $ORPO_SHARED).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from objectives import MODEL, ROOT, Row, alpaca_rows, prompt_of, rows_of

CONFIG = ROOT / "docs" / "examples" / "compare-alpaca.yaml"

JUDGE_CHARACTERS = 2400
"""Most characters of both outputs of a pair that the judge is trained on."""


def prepare(folder: Path) -> None:
    """Write everything that the configuration names."""
    folder.mkdir(parents=True, exist_ok=True)
    train, _, held_out = rows_of("alpaca")
    for name, rows in {"train": train, "eval": held_out, "judge": judge_rows([*train, *held_out])}.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        print(f"{name}: {len(rows)} pairs with {len({prompt_of(row) for row in rows})} prompts")
    shutil.copytree(MODEL, folder / MODEL.name, dirs_exist_ok=True)
    shutil.copy(CONFIG, folder)


def judge_rows(others: Sequence[Row]) -> list[Row]:
    """Pairs whose prompts do not occur in others."""
    seen = {prompt_of(row) for row in others}
    return [row for row in alpaca_rows("train.jsonl", JUDGE_CHARACTERS) if prompt_of(row) not in seen]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    prepare(parser.parse_args().folder)
