"""A sealed file is what was written, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.files import DamagedError, read_sealed, write_sealed

CONTENT = {"name": "a.jsonl \ud800 ü", "size": 12, "list": [1, 2.5, None], "counts": {"b": 1, "a": 2}}


def test_what_was_written_is_read_in_its_order(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", CONTENT)
    content = read_sealed(tmp_path / "a.json")
    assert content == CONTENT
    assert list(content["counts"]) == ["b", "a"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_no_changed_byte_gives_other_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, CONTENT)
    written = path.read_bytes()
    refused = 0
    for place in range(len(written)):
        path.write_bytes(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :])
        try:
            assert read_sealed(path) == CONTENT
        except DamagedError:
            refused += 1
    assert refused > 0.9 * len(written)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"content": {}}', '{"content": [], "sha256": ""}', "\xff"]
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedError, match=r"a\.json is not what was written"):
        read_sealed(tmp_path / "a.json")
