"""Processes that tokenise: the same bytes, no hanging, nothing left behind."""

from __future__ import annotations

import os
import signal
from itertools import count, islice
from pathlib import Path

import psutil
import pytest

from orpo.data.preparation import workers
from orpo.data.preparation.workers import choose_workers
from orpo.errors import DataError, ResourceError
from tests.rows import write_rows
from tests.unit.data.preparation.making import (
    Dying,
    Refusing,
    entry_of,
    prepare,
    started,
    wait_until,
)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orpo.data.shards.SHARD_SIZE", 5)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", 43)


def test_a_small_source_gets_no_processes_and_a_larger_one_a_process_per_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 7)
    number, batches = choose_workers("auto", iter(range(workers.SMALL)))
    assert (number, list(batches)) == (1, list(range(workers.SMALL)))
    endless = count()
    number, batches = choose_workers("auto", endless)
    assert (number, next(endless)) == (7, workers.SMALL + 1)
    assert list(islice(batches, 3)) == [0, 1, 2]
    monkeypatch.setattr(workers, "usable_cores", lambda: 500)
    assert choose_workers("auto", count())[0] == workers.MOST
    assert choose_workers(3, iter([1]))[0] == 3


def test_the_files_do_not_depend_on_the_number_of_processes(pairs: Path, tmp_path: Path) -> None:
    one, two = (prepare(pairs, tmp_path / f"{number}", workers=number) for number in (1, 2))
    contents = [
        {path.name: path.read_bytes() for path in entry_of(tmp_path / f"{number}").iterdir()}
        for number in (1, 2)
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 10
    assert list(one.pairs) == list(two.pairs)


def test_an_error_in_a_process_is_the_users(pairs: Path, tmp_path: Path) -> None:
    error = DataError("pairs.jsonl:7: not prefix-stable", hint="Name another template.")
    with pytest.raises(DataError) as caught:
        prepare(pairs, tmp_path / "cache", workers=2, pair_tokenizer=Refusing(":7", error))
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)


def test_a_process_that_dies_is_said_and_what_is_finished_is_kept(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="a process that tokenises ended unexpectedly") as caught:
        prepare(pairs, tmp_path / "cache", workers=2, pair_tokenizer=Dying(":42", KeyError("")))
    assert "data.workers" in str(caught.value.hint)
    assert list(entry_of(tmp_path / "cache").glob("*.arrow"))
    assert len(prepare(pairs, tmp_path / "cache").pairs) == 43


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_script_that_is_stopped_leaves_no_process_and_goes_on_when_run_again(
    sent: signal.Signals, pairs: Path, tmp_path: Path
) -> None:
    """The script has no guard: its processes must not run it from the start."""
    with started(tmp_path, workers=2, freely=15) as stopped:
        wait_until(lambda: len(list((tmp_path / "cache").glob("*.partial/*.record.json"))) >= 3)
        processes = psutil.Process(stopped.pid).children(recursive=True)
        assert len(processes) >= 2
        os.killpg(stopped.pid, sent) if sent == signal.SIGINT else os.kill(stopped.pid, sent)
        if sent == signal.SIGINT:
            (tmp_path / "go").touch()
        output, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == -sent
    assert output.count("\nKeyboardInterrupt\n") == (sent == signal.SIGINT), "the processes say nothing"
    assert "prepared 43" not in output
    wait_until(lambda: not any(process.is_running() for process in processes))
    unfinished = entry_of(tmp_path / "cache")
    assert unfinished.suffix == ".partial"
    ages = {path.name: path.stat().st_mtime_ns for path in unfinished.glob("*.arrow")}
    assert 3 <= len(ages) < 9
    assert ("00003.arrow" in ages) is (sent == signal.SIGINT), "what is under way at Ctrl-C is finished"

    (tmp_path / "go").touch()
    with started(tmp_path, workers=1) as again:
        assert again.communicate(timeout=60)[0] == "prepared 43 False False\n"
    entry = entry_of(tmp_path / "cache")
    assert {name: (entry / name).stat().st_mtime_ns for name in ages} == ages
