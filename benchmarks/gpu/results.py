"""Results as they come: a line of JSON each, and tables made from all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Record:
    """Appends results of one part to the file that all parts share."""

    def __init__(self, folder: Path, part: str) -> None:
        self._path = folder / "results.jsonl"
        self._part = part

    def add(self, name: str, /, **values: Any) -> None:
        """Write a result, and say it."""
        row = {"part": self._part, "what": name, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{self._part}: {name}: " + ", ".join(f"{k} {_shown(v)}" for k, v in values.items()), flush=True
        )


def write_tables(folder: Path) -> None:
    """results.md: a table per part, with the results in the order in which they came."""
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    text = ["# ORPO on a GPU", ""]
    for part in dict.fromkeys(row["part"] for row in rows):
        text += [f"## {part}", ""]
        # Results with the same columns share a table.
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in rows:
            if row["part"] == part:
                groups.setdefault(tuple(key for key in row if key != "part"), []).append(row)
        for columns, members in groups.items():
            text.append("| " + " | ".join(columns) + " |")
            text.append("|---" * len(columns) + "|")
            text += ["| " + " | ".join(_shown(row[c]) for c in columns) + " |" for row in members]
            text.append("")
    (folder / "results.md").write_text("\n".join(text), encoding="utf-8")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "/").replace("\n", " ")
