"""Sources are opened without being read, tokenised once, and shared out."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.config import DataSection, SourceSection
from orpo.data.preparation import Tokenization
from orpo.data.templates import Template
from orpo.errors import DataError
from orpo.run.sources import cache_folder, open_sources, prepare_mixture
from tests.rows import write_rows
from tests.tiny import byte_tokenizer

PLAIN = Tokenization(template=Template("none", None), max_length=64, truncation="cut", finds_answers=False)


def test_a_mixture_has_its_sources_one_after_the_other_and_within_their_limits(tmp_path: Path) -> None:
    first, second = write_rows(tmp_path / "first.jsonl", 5), write_rows(tmp_path / "second.jsonl", 8)
    sections = (SourceSection(path=str(first)), SourceSection(path=str(second), max_rows=3))
    config = DataSection(train=sections, cache=str(tmp_path / "cache"))
    opened = open_sources(config, "train", sections, keep_unpaired=False)
    mixture = prepare_mixture(opened, config, PLAIN, byte_tokenizer(), 0, None)
    assert [len(source.pairs) for source in mixture.sources] == [5, 8]
    assert [len(share.indices) for share in mixture.shares] == [5, 3]
    origins = [Path(pair.where.rpartition(":")[0]).name for pair in mixture.pairs]
    assert origins == ["first.jsonl"] * 5 + ["second.jsonl"] * 3


def test_the_first_examples_are_looked_at_and_not_lost(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 120)
    config = DataSection(train=(SourceSection(path=str(path)),))
    (opened,) = open_sources(config, "train", config.train, keep_unpaired=False)
    assert len(opened.head) == 100
    assert len(list(opened.stream.examples)) == 120


def test_a_source_without_a_usable_row_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n', encoding="utf-8")
    config = DataSection(train=(SourceSection(path=str(path)),))
    with pytest.raises(DataError, match="not one of 1 rows can be used"):
        open_sources(config, "train", config.train, keep_unpaired=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ORPO_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/tokens"),
        ({"ORPO_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/orpo/tokens"),
        ({"XDG_CACHE_HOME": ""}, "/elsewhere/.cache/orpo/tokens"),
    ],
)
def test_the_cache_is_where_the_user_says(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORPO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"HOME": "/elsewhere"}).items():
        monkeypatch.setenv(name, value)
    assert cache_folder("auto") == Path(expected)
    assert cache_folder("~/cache") == Path("/elsewhere/cache")
