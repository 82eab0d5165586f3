"""Preference rows, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path


def rows(count: int) -> list[dict[str, str]]:
    """Sums with a right and a wrong answer, as plain strings."""
    return [
        {"prompt": f"{i} + {i + 1} =", "chosen": f" {2 * i + 1}", "rejected": f" about {2 * i + 2}"}
        for i in range(count)
    ]


def write_rows(path: Path, count: int) -> Path:
    """`rows(count)` as a jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    return path
