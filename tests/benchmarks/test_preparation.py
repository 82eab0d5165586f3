"""The benchmark of preparation measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.preparation import DATASETS, Setup, varied_rows

from tests.paths import SHARED, needs_shared

ROOT = Path(__file__).resolve().parents[2]


@needs_shared
def test_made_up_rows_are_all_different() -> None:
    texts = [tuple(row.values()) for row in islice(varied_rows(80), 6000)]
    assert len(set(texts)) == 6000
    assert all(len(prompt) <= 80 for prompt, _, _ in texts)


@needs_shared
def test_the_texts_that_are_encoded_are_those_of_the_preparation(tmp_path: Path) -> None:
    setup = Setup.of("base6m", 1)
    path = tmp_path / "pairs.jsonl"
    lines = (SHARED / "data" / DATASETS["hh"]).read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:20]), encoding="utf-8")
    (texts,) = setup.texts(path)
    pairs = setup.prepare(path, tmp_path / "cache").pairs
    encoded: Any = setup.tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert len(texts) == 3 * len(pairs)
    for pair, prompt in zip(pairs, encoded[::3], strict=True):
        assert list(pair.prompt) == prompt[: len(pair.prompt)]


@needs_shared
def test_memory_is_looked_at_while_a_file_is_prepared(tmp_path: Path) -> None:
    sizes = ["--pairs", "300", "--gigabytes", "0.0005"]
    command = [sys.executable, ROOT / "benchmarks" / "preparation.py", "--memory", *sizes]
    done = subprocess.run(
        [str(part) for part in (*command, "--model", "base6m", "--workers", "1", "--results", tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    results = json.loads((tmp_path / "preparation-memory.json").read_text())["results"]
    assert results["short pairs"]["pairs"] == 300
    assert 500_000 <= results["long pairs"]["input_bytes"] < 600_000
    for result in results.values():
        assert all(look["resident"] > 10_000_000 for look in result["looks"])
        assert result["stored_bytes"] > 0
    assert done.stdout.startswith("short pairs: 300 pairs")
