"""Prepares small sources, in this process or in one of its own."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from orpo.data import Example, SourceSpec, stream_examples
from orpo.data.preparation import PreparedSource, Reading, Recipe, Tokenization, prepare_source
from orpo.data.preparation.workers import Workers
from orpo.data.rendering import Dropped
from orpo.data.templates import Template
from orpo.data.tokens import PairTokenizer, Tokenized
from tests.trap_tokenizers import byte_level

READING = Reading(role="train", transcripts="messages")
TOKENIZATION = Tokenization(
    template=Template("none", None), max_length=100, truncation="cut", finds_answers=False
)


@functools.cache
def tokenizer() -> PreTrainedTokenizerBase:
    """One for all tests; nothing here changes it."""
    return byte_level()


def prepare(
    path: Path,
    folder: Path,
    *,
    workers: Workers = 1,
    pair_tokenizer: PairTokenizer | None = None,
    in_memory: bool = False,
    progress: Callable[[int], None] | None = None,
) -> PreparedSource:
    """The tokens of a file, by the cache in `folder`."""
    stream = stream_examples(SourceSpec(str(path)), role="train")
    return prepare_source(
        stream,
        None if in_memory else Recipe.of(stream, READING, TOKENIZATION, tokenizer()),
        pair_tokenizer or TOKENIZATION.pair_tokenizer(tokenizer()),
        folder=folder,
        workers=workers,
        progress=progress,
    )


def entry_of(folder: Path) -> Path:
    """The only entry of a cache."""
    (entry,) = (path for path in folder.iterdir() if path.is_dir())
    return entry


class Refusing(PairTokenizer):
    """Raises an error for each shard that has the example at `where`."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(tokenizer(), TOKENIZATION.template, max_length=100)
        self._where, self._error = where, error

    def __call__(self, examples: Sequence[Example]) -> list[Tokenized | Dropped]:
        if any(example.where.endswith(self._where) for example in examples):
            raise self._error
        return super().__call__(examples)


class Dying(Refusing):
    """Ends its process instead."""

    def __call__(self, examples: Sequence[Example]) -> list[Tokenized | Dropped]:
        try:
            return super().__call__(examples)
        except Exception:  # noqa: BLE001
            os._exit(1)


class Waiting(PairTokenizer):
    """Begins each shard, but for the first ones, when a file is there."""

    def __init__(self, go: Path, freely: int) -> None:
        fast = PreTrainedTokenizerFast.from_pretrained(go.parent / "tokenizer")
        super().__init__(fast, TOKENIZATION.template, max_length=100)
        self._go, self._freely = go, freely

    def __call__(self, examples: Sequence[Example]) -> list[Tokenized | Dropped]:
        line = int(examples[0].where.rpartition(":")[2])
        wait_until(lambda: line <= self._freely or self._go.exists())
        return super().__call__(examples)


_SCRIPT = """
import logging, sys
from pathlib import Path
import orpo.data.shards
from orpo.data import SourceSpec, stream_examples
from orpo.data.preparation import Recipe, prepare_source
from tests.unit.data.preparation.making import READING, TOKENIZATION, Waiting

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
orpo.data.shards.SHARD_SIZE = 5
folder, workers, freely = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
pair_tokenizer = Waiting(folder / "go", freely)
stream = stream_examples(SourceSpec(str(folder / "pairs.jsonl")), role="train")
recipe = Recipe.of(stream, READING, TOKENIZATION, pair_tokenizer._tokenizer)
prepared = prepare_source(stream, recipe, pair_tokenizer, folder=folder / "cache", workers=workers)
print("prepared", len(prepared.pairs), prepared.cached is not None, "torch" in sys.modules, flush=True)
"""


@contextmanager
def started(folder: Path, *, workers: int = 1, freely: int = 0) -> Generator[subprocess.Popen[str]]:
    """A script without the usual guard that prepares `pairs.jsonl` of `folder` in shards of 5.

    It goes on after the row `freely` when there is a file `go`.
    """
    if not (folder / "script.py").exists():
        tokenizer().save_pretrained(folder / "tokenizer")
        (folder / "script.py").write_text(_SCRIPT, encoding="utf-8")
    arguments: list[Any] = [sys.executable, folder / "script.py", folder, workers, freely]
    paths = [str(Path(__file__).parents[4]), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [str(argument) for argument in arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Return when `condition` holds; an assertion fails if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
