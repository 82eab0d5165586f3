"""Who tokenises: threads of this process for little, processes of their own for much.

The tokenizer's library has threads of its own and works without Python's lock, so in one process it is enough
that the Python around it (templates, prompt boundaries, Arrow) runs beside it: two threads.  That Python then
sets the pace, some thousand pairs per second; more comes only of more processes, each with one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from orpo.data.pairs import Example
from orpo.data.preparation.shardfiles import ShardRecord, write_shard
from orpo.data.tokens import PairTokenizer
from orpo.errors import ResourceError
from orpo.interruption import SIGNALS

Batch = TypeVar("Batch")
Workers = int | Literal["auto"]

SMALL = 20
"""Shards up to which starting processes, some seconds, costs more than it brings."""

MOST = 16
"""Processes that one reader can keep busy."""

_THREADS = 2

Writer = Callable[[int, list[Example]], "Future[ShardRecord]"]
"""Begins to make the shard of a number of some examples."""


def choose_workers(workers: Workers, batches: Iterator[Batch]) -> tuple[int, Iterator[Batch]]:
    """How many processes tokenise; 1 is this one.

    Args:
        workers: what the user says; `auto`: one for a small source, else as many as there are cores.
        batches: what goes into shards; a few are taken to see whether it is small.

    Returns:
        The number, and all the batches.
    """
    if workers != "auto":
        return workers, batches
    ahead = list(islice(batches, SMALL + 1))
    number = min(usable_cores(), MOST) if len(ahead) > SMALL else 1
    return number, chain(ahead, batches)


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@contextmanager
def shard_writer(tokenizer: PairTokenizer, folder: Path, workers: int) -> Generator[Writer]:
    """What begins to make shards in `folder`; at the end it waits for those under way and starts no others.

    Raises:
        ResourceError: a process died.
    """
    if workers == 1:
        executor: Executor = ThreadPoolExecutor(_THREADS)
        write = partial(write_shard, tokenizer, folder)
    else:
        executor = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            initargs=(tokenizer,),
        )
        write = partial(_write_shard, folder)
    try:
        yield partial(_submit, executor, write)
    except BrokenProcessPool:
        raise ResourceError(
            "a process that tokenises ended unexpectedly; often memory ran out",
            hint="Set data.workers to a smaller number, or to 1. Finished shards are not made again.",
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def in_order(futures: Iterable[Future[ShardRecord]], under_way: int) -> Iterator[ShardRecord]:
    """The results, in the order of `futures`, of which at most `under_way` are begun ahead."""
    pending: deque[Future[ShardRecord]] = deque()
    for future in futures:
        pending.append(future)
        if len(pending) > under_way:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_tokenizer: PairTokenizer
"""In a process that tokenises: what with."""


def _start_process(tokenizer: PairTokenizer) -> None:
    global _tokenizer
    _tokenizer = tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a process per core is enough
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Processes of a pool wait forever for work from one that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _submit(
    executor: Executor,
    write: Callable[[int, list[Example]], ShardRecord],
    number: int,
    examples: list[Example],
) -> Future[ShardRecord]:
    """Hand a shard to an executor, which may start a process for it."""
    with _apart():
        return executor.submit(write, number, examples)


@contextmanager
def _apart() -> Generator[None]:
    """Processes that are started meanwhile know neither signals that ask to end nor the script that runs.

    Such a signal is for the process that reads; the others end with it.  The script would be imported, to
    find what is defined there; nothing of it is needed, and one that does not expect that would begin again
    from the start.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        sys.modules["__main__"] = main


def _write_shard(folder: Path, number: int, examples: list[Example]) -> ShardRecord:
    return write_shard(_tokenizer, folder, number, examples)
