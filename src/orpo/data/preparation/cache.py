"""The cache of tokens: a folder per source and recipe, made once by one process, checked when it is read.

    KEY/            Arrow files and `manifest.json`
    KEY.partial/    the same on the way, with a record beside each finished shard
    KEY.lock        held by the process that makes it

Any of it may be deleted while nothing runs.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from orpo.data.pairs import RowCounts
from orpo.data.preparation.entry import PreparedSource, read_entry, write_entry
from orpo.data.preparation.recipe import Recipe
from orpo.data.preparation.storing import storing
from orpo.data.preparation.workers import Workers
from orpo.data.read import SourceStream
from orpo.data.shards import tokenize_examples
from orpo.data.table import ExampleTable, fingerprint_examples, to_arrow
from orpo.data.tokens import PairTokenizer
from orpo.errors import ResourceError
from orpo.files import DamagedError

log = logging.getLogger(__name__)


def prepare_source(
    stream: SourceStream,
    recipe: Recipe | None,
    tokenizer: PairTokenizer,
    *,
    folder: Path,
    workers: Workers = "auto",
    progress: Callable[[int], None] | None = None,
) -> PreparedSource:
    """The tokens of a source: from the cache, or made and put there.

    Args:
        stream: the source, of which nothing has been read.
        recipe: what its tokens depend on; None makes them in memory.
        tokenizer: as the recipe says.
        folder: of the cache.
        workers: processes that tokenise; 1 is this one, `auto` depends on how much there is to do.
        progress: called now and then with the number of examples just tokenised.

    Raises:
        DataError: the source cannot be read or tokenised, or nothing is left of it.
        ConfigError: see `PairTokenizer.__call__`.
        ResourceError: the cache cannot be written, or does not hold what was written; or a process died.
    """
    if recipe is None:
        return _in_memory(stream, tokenizer, progress)
    path = folder / recipe.key
    found = _sound_entry(path, logging.DEBUG)
    if found is not None:
        return found
    with _only_one(path, stream.name):
        found = _sound_entry(path, logging.WARNING)  # another process may have made it meanwhile
        if found is not None:
            return found
        if path.exists():
            with storing(folder):
                shutil.rmtree(path)
        write_entry(path, recipe, stream, tokenizer, workers, progress)
        return _just_written(path)


def _in_memory(
    stream: SourceStream, tokenizer: PairTokenizer, progress: Callable[[int], None] | None
) -> PreparedSource:
    examples = ExampleTable(to_arrow(stream.examples), ())
    report = stream.report(stream.fingerprint or fingerprint_examples(examples), examples[0])
    counts = RowCounts()
    pairs = tokenize_examples(examples, tokenizer, counts, progress)
    return PreparedSource(pairs, report, counts)


def _sound_entry(path: Path, level: int) -> PreparedSource | None:
    """The entry, if it is there and nothing is wrong with it; what is wrong is logged."""
    if not path.exists():
        return None
    try:
        return read_entry(path)
    except DamagedError as damage:
        log.log(level, "%s: %s; it is made again", path, damage)
        return None


@contextmanager
def _only_one(path: Path, name: str) -> Generator[None]:
    """Wait until no other process makes this entry, and let none begin."""
    lock = FileLock(f"{path}.lock")
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process, which prepares %s (%s)", name, lock.lock_file)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _just_written(path: Path) -> PreparedSource:
    try:
        return replace(read_entry(path), cached=None)
    except DamagedError as damage:
        raise ResourceError(
            f"data.cache: {path}: {damage}, right after it was written",
            hint="The disk does not keep what it is given. Name a folder on another one in data.cache.",
        ) from None
