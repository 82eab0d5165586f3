"""Rows of files: every format, every damage."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from orpo.data.rows import file_format, read_rows
from orpo.errors import DataError
from tests.datafiles import FORMATS, PLAIN, write_bytes, write_rows


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    return str(caught.value)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"train{ending}", PLAIN)
    assert [row.values for row in read_rows(path)] == PLAIN


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv"])
def test_rows_of_line_formats_are_named_by_the_line_they_start_on(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"train{ending}", [PLAIN[1], PLAIN[0]])
    first, second = read_rows(path)
    header, lines = (1, 2) if ending == ".csv" else (0, 1)  # in CSV the line end in the prompt is a line end
    assert first.where == f"{path}:{header + 1}"
    assert second.where == f"{path}:{header + 1 + lines}"


@pytest.mark.parametrize("ending", [".json", ".parquet"])
def test_rows_of_other_formats_are_named_by_their_number(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"train{ending}", PLAIN)
    assert [row.where for row in read_rows(path)] == [f"{path} row 1", f"{path} row 2"]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    assert [(row.where, row.values) for row in read_rows(path)] == [
        (f"{path}:1", {"a": 1}),
        (f"{path}:4", {"a": 2}),
    ]
    csv = write_bytes(tmp_path / "a.csv", b"\xef\xbb\xbfa,b\n\n1,2\n")
    assert [row.values for row in read_rows(csv)] == [{"a": "1", "b": "2"}]


def test_a_corrupt_line_is_named_with_its_number(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": 1, "b" 2}\n')
    message = error_of(path)
    assert message.startswith(f"{path}:2: corrupt JSON, Expecting ':' delimiter at column 14")
    assert '"b" 2' in message


def test_an_excerpt_is_short_and_cannot_control_the_terminal(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.jsonl", b'{"a": "' + b"x" * 5000 + b'\x1b[2J"}\n')
    message = error_of(path)
    assert "\x1b" not in message
    assert r"\x1b[2J" in message
    assert len(message.removeprefix(str(path))) < 250


def test_rows_before_a_corrupt_line_are_streamed(tmp_path: Path) -> None:
    rows = read_rows(write_bytes(tmp_path / "a.jsonl", b'{"a": 1}\n{'))
    assert next(rows).values == {"a": 1}


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".json"])
def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path, ending: str) -> None:
    path = write_bytes(tmp_path / f"a{ending}", b'{"a": 1}\n{"a": "\xff"}\n')
    message = error_of(path)
    assert message.startswith(f"{path}:2: not UTF-8, byte 0xff at column 8")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"[1]", "a list"),
        (b"17", "a number"),
        (b'"x"', "a string"),
        (b"null", "null"),
        (b"true", "a boolean"),
    ],
)
def test_a_row_that_is_no_object_is_an_error(tmp_path: Path, line: bytes, kind: str) -> None:
    path = write_bytes(tmp_path / "a.jsonl", b'{"a": 1}\n' + line)
    assert error_of(path) == f"{path}:2: expected an object with a value per column, got {kind}"
    listed = write_bytes(tmp_path / "a.json", b'[{"a": 1}, ' + line + b"]")
    assert error_of(listed) == f"{listed} row 2: expected an object with a value per column, got {kind}"


def test_a_key_twice_is_an_error_at_any_depth(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.jsonl", b'{"a": 1}\n{"c": {"a": 1, "b": 2, "a": 3}}\n')
    assert error_of(path).startswith(f"{path}:2: unusable JSON, the key 'a' appears twice in one object")


def test_endless_nesting_and_endless_numbers_are_errors(tmp_path: Path) -> None:
    nested = write_bytes(tmp_path / "nested.jsonl", b'{"a": ' + b"[" * 200_000)
    assert f"{nested}:1" in error_of(nested)
    digits = write_bytes(tmp_path / "digits.jsonl", b'{"a": ' + b"9" * 5000 + b"}")
    assert f"{digits}:1" in error_of(digits)


def test_numbers_that_python_writes_beyond_json_are_read(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.jsonl", b'{"a": Infinity, "b": NaN}\n')
    values = next(read_rows(path)).values
    assert values["a"] == float("inf")
    assert values["b"] != values["b"]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, ending: str, content: bytes) -> None:
    path = write_bytes(tmp_path / f"a{ending}", content if ending != ".csv" else content.strip(b" "))
    assert error_of(path) == f"{path}: the file holds no rows"


def test_a_file_without_rows_is_an_error(tmp_path: Path) -> None:
    for path in (write_bytes(tmp_path / "a.json", b"[]"), write_bytes(tmp_path / "a.csv", b"a,b\n")):
        assert error_of(path) == f"{path}: the file holds no rows"


def test_json_lines_under_the_name_json_are_read(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.json", b'\n{"a": 1}\n{"a": 2}\n')
    assert [(row.where, row.values) for row in read_rows(path)] == [
        (f"{path}:2", {"a": 1}),
        (f"{path}:3", {"a": 2}),
    ]


def test_a_corrupt_json_list_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.json", b'[\n{"a": 1},\n{"a" 2}\n]')
    assert error_of(path).startswith(
        f"{path}:3: corrupt JSON, Expecting ':' delimiter at column 6: '{{\"a\" 2}}'"
    )


def test_a_json_object_is_not_taken_for_rows(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.json", b'{\n "data": [{"a": 1}]\n}')
    assert error_of(path).startswith(
        f"{path}: expected a list of objects, got an object with the keys 'data'"
    )


@pytest.mark.parametrize("line", [b"1", b"1,2,3"])
def test_a_csv_row_of_the_wrong_length_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    path = write_bytes(tmp_path / "a.csv", b'a,b\n"x\ny",2\n' + line + b"\n")
    assert error_of(path).startswith(
        f"{path}:4: expected 2 fields, as in the header, got {line.count(b',') + 1}"
    )


def test_a_csv_quote_that_is_never_closed_does_not_swallow_the_file(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.csv", b'a,b\n1,2\n"x,2\n3,4\n5,6\n')
    assert error_of(path).startswith(f"{path}:3: corrupt CSV")


def test_csv_texts_may_be_long(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.csv", b"a\n" + b"x" * 300_000 + b"\n")
    assert len(next(read_rows(path)).values["a"]) == 300_000


def test_a_column_twice_is_an_error(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.csv", b"a,b,a\n1,2,3\n")
    assert error_of(path) == f"{path}:1: the column 'a' appears twice"


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_file_cut_short_is_an_error_wherever_it_is_cut(tmp_path: Path, compression: str) -> None:
    path = write_rows(tmp_path / f"a.jsonl.{compression}", PLAIN * 50)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 10):
        path.write_bytes(whole[:size])
        assert error_of(path).startswith(f"{path}: the compressed data is damaged or cut short")


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_file_that_is_not_compressed_as_its_name_says_is_an_error(tmp_path: Path, compression: str) -> None:
    path = write_bytes(tmp_path / f"a.jsonl.{compression}", b'{"a": 1}\n' * 10)
    assert error_of(path).startswith(f"{path}: the compressed data is damaged or cut short")


def test_compressed_files_joined_together_are_read_to_the_end(tmp_path: Path) -> None:
    for compression, compress in (("gz", gzip.compress), ("zst", zstandard.compress)):
        parts = (
            compress(b'{"a": 1}\n'),
            compress(b'{"a": 2}\n' * 30_000),
            compress(b""),
            compress(b'{"a": 3}'),
        )
        path = write_bytes(tmp_path / f"a.jsonl.{compression}", b"".join(parts))
        rows = [row.values["a"] for row in read_rows(path)]
        assert rows == [1, *[2] * 30_000, 3]


def test_a_large_compressed_file_is_not_held_in_memory(tmp_path: Path) -> None:
    content = b"".join(
        b'{"a": "%s"}\n' % (random.Random(i).randbytes(5000).hex().encode()) for i in range(500)
    )
    for compression in ("gz", "zst"):
        path = write_bytes(tmp_path / f"a.jsonl.{compression}", content, compression)
        tracemalloc.start()
        assert sum(1 for _ in read_rows(path)) == 500
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < len(content) / 10


@pytest.mark.parametrize("ending", [".parquet", ".parquet.gz"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"a{ending}", PLAIN)
    content = gzip.decompress(path.read_bytes()) if ending.endswith("gz") else path.read_bytes()
    write_bytes(path, content[: len(content) // 2], "gz" if ending.endswith("gz") else "")
    assert error_of(path).startswith(f"{path}: damaged or incomplete parquet after row 0 (")


def test_parquet_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.parquet", [{"a": f"{i:08}"} for i in range(5000)])
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)
    assert error_of(path).startswith(f"{path}: damaged or incomplete parquet after row")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert (
        error_of(tmp_path / "gone.jsonl")
        == f"{tmp_path}/gone.jsonl: cannot be read (No such file or directory)"
    )


def test_other_files_are_refused_with_the_known_endings(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.txt", b"x")
    assert file_format(path) is None
    assert "`.jsonl`" in error_of(path)


def test_endings_are_known_in_any_case() -> None:
    assert file_format(Path("A.JSONL.GZ")) == "jsonl"
    assert file_format(Path("a.b.Csv")) == "csv"
    assert file_format(Path("gz")) is None


def test_a_line_that_breaks_off_is_named_and_not_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl:2: corrupt JSON"):
        list(read_rows(path))
