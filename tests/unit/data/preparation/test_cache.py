"""What was made once is read, whatever happens to processes and files in between."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from orpo.data.preparation import shardfiles
from orpo.data.shards import tokenize_shard
from orpo.errors import DataError, ResourceError
from orpo.files import replace_file
from tests.rows import write_rows
from tests.unit.data.preparation.making import Refusing, entry_of, prepare, started, wait_until


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orpo.data.shards.SHARD_SIZE", 5)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Shards of 5, 5, 5, 5 and 3."""
    return write_rows(tmp_path / "pairs.jsonl", 23)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the first example of each tokenised shard is from."""
    shards: list[str] = []

    def counted(examples, tokenizer):
        shards.append(examples[0].where)
        return tokenize_shard(examples, tokenizer)

    monkeypatch.setattr(shardfiles, "tokenize_shard", counted)
    return shards


def test_what_was_made_once_is_read_and_not_tokenised_again(
    pairs: Path, tmp_path: Path, made: list[str]
) -> None:
    steps: list[int] = []
    first = prepare(pairs, tmp_path / "cache", progress=steps.append)
    assert sorted(made) == sorted(f"{pairs}:{line}" for line in (1, 6, 11, 16, 21))
    assert steps == [5, 5, 5, 5, 3]
    again = prepare(pairs, tmp_path / "cache", progress=steps.append)
    assert (len(made), len(steps)) == (5, 5)
    assert (first.cached, again.cached) == (None, entry_of(tmp_path / "cache"))
    assert list(again.pairs) == list(first.pairs)


def test_order_and_content_and_counts_are_those_of_the_way_through_memory(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", 20)
    same = '{"prompt": "p", "chosen": "a", "rejected": "a"}'
    empty = '{"prompt": "", "chosen": "", "rejected": ""}'
    long = f'{{"prompt": "{"long " * 300}", "chosen": "a", "rejected": "b"}}'
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{same}\n{long}\n{empty}\n{long}\n")
    plain = prepare(path, tmp_path / "cache", in_memory=True)
    for kept in (prepare(path, tmp_path / "cache"), prepare(path, tmp_path / "cache")):
        assert list(kept.pairs) == list(plain.pairs)
        assert kept.pairs.stop_ids == plain.pairs.stop_ids
        assert kept.pairs.prompt_keys() == plain.pairs.prompt_keys()
        assert (kept.pairs.lengths == plain.pairs.lengths).all()
        assert kept.counts == plain.counts
        assert list(kept.counts.dropped.items()) == list(plain.counts.dropped.items())
        assert vars(kept.report) == vars(plain.report) | {"fingerprint": kept.report.fingerprint}
    assert plain.counts.dropped.total() == 2
    assert plain.report.counts.dropped.total() == 2


def test_tokens_stay_in_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orpo.data.shards.SHARD_SIZE", 1000)
    path = write_rows(tmp_path / "pairs.jsonl", 3000)
    prepare(path, tmp_path / "cache")
    before = pa.total_allocated_bytes()
    kept = prepare(path, tmp_path / "cache")
    stored = sum(shard.batch.nbytes for shard in kept.pairs.shards)
    assert stored > 200_000
    assert pa.total_allocated_bytes() - before < stored / 20
    assert str(entry_of(tmp_path / "cache")) in Path("/proc/self/maps").read_text()
    assert "00002.arrow" not in " ".join(str(fd.resolve()) for fd in Path("/proc/self/fd").iterdir())


def test_a_preparation_that_failed_goes_on_where_it_stopped(
    pairs: Path, tmp_path: Path, made: list[str]
) -> None:
    with pytest.raises(KeyError, match="not today"):
        prepare(pairs, tmp_path / "cache", pair_tokenizer=Refusing(":13", KeyError("not today")))
    assert entry_of(tmp_path / "cache").suffix == ".partial"
    made.clear()
    whole = prepare(pairs, tmp_path / "cache")
    assert f"{pairs}:11" in made
    assert not {f"{pairs}:1", f"{pairs}:6"} & set(made)
    assert list(whole.pairs) == list(prepare(pairs, tmp_path / "other").pairs)
    names = sorted(path.name for path in entry_of(tmp_path / "cache").iterdir())
    assert names == [*(f"{number:05}.arrow" for number in range(5)), "manifest.json"]


def test_an_unfinished_shard_that_is_damaged_is_made_again(
    pairs: Path, tmp_path: Path, made: list[str]
) -> None:
    with pytest.raises(KeyError):
        prepare(pairs, tmp_path / "cache", pair_tokenizer=Refusing(":22", KeyError("not today")))
    unfinished = entry_of(tmp_path / "cache")
    flip(unfinished / "00001.arrow")
    (unfinished / "00002.record.json").unlink()
    made.clear()
    whole = prepare(pairs, tmp_path / "cache")
    assert sorted(made) == sorted(f"{pairs}:{line}" for line in (6, 11, 21))
    assert list(whole.pairs) == list(prepare(pairs, tmp_path / "other").pairs)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit of a shard": (lambda entry: flip(entry / "00001.arrow"), "00001.arrow is not what was written"),
    "a shard cut short": (lambda entry: cut(entry / "00004.arrow"), "00004.arrow is not what was written"),
    "a shard gone": (lambda entry: (entry / "00000.arrow").unlink(), "00000.arrow: No such file"),
    "the manifest gone": (lambda entry: (entry / "manifest.json").unlink(), "manifest.json: No such file"),
    "one bit of the manifest": (lambda entry: flip(entry / "manifest.json"), "manifest.json is not what was"),
    "the manifest cut short": (lambda entry: cut(entry / "manifest.json"), "manifest.json is not what was"),
    "a manifest of something else": (
        lambda entry: (entry / "manifest.json").write_text("[1]"),
        "manifest.json is not what was",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_made_again_with_one_warning(
    kind: str, pairs: Path, tmp_path: Path, made: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = list(prepare(pairs, tmp_path / "cache").pairs)
    entry = entry_of(tmp_path / "cache")
    damage, told = DAMAGE[kind]
    damage(entry)
    made.clear()
    again = prepare(pairs, tmp_path / "cache")
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.getMessage().startswith(f"{entry}: {told}")
    assert warning.getMessage().endswith("; it is made again")
    assert (again.cached, list(again.pairs), len(made)) == (None, first, 5)
    assert prepare(pairs, tmp_path / "cache").cached == entry


def test_a_disk_that_does_not_keep_what_it_is_given_is_an_error(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(pairs, tmp_path / "cache")
    flip(entry_of(tmp_path / "cache") / "00003.arrow")

    def forgetful(path: Path, content: bytes) -> None:
        replace_file(path, content)
        flip(path)

    monkeypatch.setattr(shardfiles, "replace_file", forgetful)
    with pytest.raises(ResourceError, match="right after it was written") as caught:
        prepare(pairs, tmp_path / "cache")
    assert str(tmp_path / "cache") in caught.value.message
    assert caught.value.exit_code == 6
    assert "data.cache" in str(caught.value.hint)


def test_a_full_disk_is_said_and_what_is_finished_is_kept(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "00003.arrow":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_file(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(shardfiles, "replace_file", full)
        with pytest.raises(ResourceError) as caught:
            prepare(pairs, tmp_path / "cache")
    assert "No space left on device" in caught.value.message
    assert str(tmp_path / "cache") in caught.value.message
    made.clear()
    prepare(pairs, tmp_path / "cache")
    assert not {f"{pairs}:1", f"{pairs}:6", f"{pairs}:11"} & set(made)


def test_a_folder_that_cannot_be_made_is_said(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"data\.cache: .*file/cache cannot be written: Not a directory"):
        prepare(pairs, tmp_path / "file" / "cache")


def test_a_source_of_which_nothing_is_left_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(f'{{"prompt": "{"long " * 300}", "chosen": "a", "rejected": "b"}}\n')
    with pytest.raises(DataError, match="none of 1 pairs is left after tokenising: prompt leaves no room"):
        prepare(path, tmp_path / "cache")
    assert not any(path.is_dir() for path in (tmp_path / "cache").iterdir())


def test_of_two_processes_one_makes_it_and_the_other_waits(pairs: Path, tmp_path: Path) -> None:
    with started(tmp_path) as first:
        wait_until(lambda: list((tmp_path / "cache").glob("*.partial")))
        with started(tmp_path) as second:
            assert second.stdout is not None
            line = second.stdout.readline()
            assert line.startswith(f"waiting for another process, which prepares {pairs} (")
            (tmp_path / "go").touch()
            assert second.communicate(timeout=60)[0] == "prepared 23 True False\n"
        assert first.communicate(timeout=60)[0] == "prepared 23 False False\n"
