"""docs/config.md says what the schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.config.keys import KEYS
from orpo.config.reference import reference

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "config.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), "run scripts/config_reference"


@pytest.mark.parametrize("path", KEYS)
def test_every_key_has_a_row_with_its_help(path: str) -> None:
    rows = [line for line in reference().splitlines() if line.startswith(f"| `{KEYS[path].name}` |")]
    assert any(row.endswith(f"| {KEYS[path].help} |") for row in rows)


def test_every_row_of_a_table_has_four_cells() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
