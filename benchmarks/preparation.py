#!/usr/bin/env python3
"""Preparing data (read, render, tokenise, account, store) beside the tokenizer's own `encode_batch`.

    python benchmarks/preparation.py              # both data sets, about a minute on two cores
    python benchmarks/preparation.py --memory     # 200,000 short pairs, and 2 GB of text: some minutes each
    python benchmarks/preparation.py --memory --pairs 50000 --gigabytes 0

Speed: `encode_batch` of all the texts that preparing encodes, with the threads of its own, and a preparation
into a fresh cache take turns.  Memory: a process of its own prepares a file, and looks at its resident memory
and that of the processes that it has started four times per second.  Data and tokenizer are those of
`../shared` (or $ORPO_SHARED).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import psutil
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from orpo.data import SourceSpec, SourceStream, stream_examples
from orpo.data.preparation import PreparedSource, Reading, Recipe, Tokenization, prepare_source
from orpo.data.preparation.workers import Workers, usable_cores
from orpo.data.rendering import Renderer, Rendering
from orpo.data.shards import cut_into_shards
from orpo.data.templates import resolve_template

SHARED = Path(os.environ.get("ORPO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
RESULTS = Path(__file__).parent / "results"
DATASETS = {"alpaca": "alpaca_eval/train.jsonl", "hh": "hh_rlhf_harmless/train.jsonl"}
MAX_LENGTH = 2048
READING = Reading(role="train", transcripts="messages")
MIB = 2**20


@dataclass(frozen=True)
class Setup:
    """How a file is prepared."""

    tokenizer: PreTrainedTokenizerBase
    tokenization: Tokenization
    workers: Workers

    @classmethod
    def of(cls, model: str, workers: Workers) -> Setup:
        """With the tokenizer of a model, and conversations written by the bundled template."""
        tokenizer = AutoTokenizer.from_pretrained(SHARED / "models" / model)
        template = resolve_template(tokenizer, "transcript", [])
        tokenization = Tokenization(
            template=template, max_length=MAX_LENGTH, truncation="cut", finds_answers=False
        )
        return cls(tokenizer, tokenization, workers)

    def prepare(self, path: Path, cache: Path, progress: Any = None) -> PreparedSource:
        """A file into a cache."""
        stream = open_file(path)
        return prepare_source(
            stream,
            Recipe.of(stream, READING, self.tokenization, self.tokenizer),
            self.tokenization.pair_tokenizer(self.tokenizer),
            folder=cache,
            workers=self.workers,
            progress=progress,
        )

    def texts(self, path: Path) -> list[list[str]]:
        """What is encoded, shard by shard."""
        renderer = Renderer(self.tokenizer, self.tokenization.template)
        shards = cut_into_shards(open_file(path).examples)
        rendered = ([renderer.example(example) for example in shard] for shard in shards)
        return [
            [text for one in shard if isinstance(one, Rendering) for text in (one.prompt, *one.branches)]
            for shard in rendered
        ]


def open_file(path: Path) -> SourceStream:
    return stream_examples(SourceSpec(str(path)), role=READING.role, transcripts=READING.transcripts)


# Speed


@dataclass(frozen=True)
class Clock:
    """Seconds by the clock on the wall, and those of processors, which other programs lengthen less."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Generator[None]:
        """Time what is done meanwhile; worker processes are in it once they have ended."""
        wall, cpu = time.perf_counter(), _processor_seconds()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(_processor_seconds() - cpu)


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure_speed(path: Path, setup: Setup, rounds: int) -> dict[str, Any]:
    """Seconds of both sides, in turn; the first round warms up."""
    texts = setup.texts(path)
    backend: Any = setup.tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    clocks = {"encode_batch": Clock(), "prepare": Clock()}
    pairs = 0
    for _ in range(rounds + 1):
        with clocks["encode_batch"].running():
            for shard in texts:
                backend.encode_batch(shard, add_special_tokens=False)
        with tempfile.TemporaryDirectory() as cache, clocks["prepare"].running():
            pairs = setup.prepare(path, Path(cache)).report.counts.kept
    raw, ours = (replace(clock, wall=clock.wall[1:], cpu=clock.cpu[1:]) for clock in clocks.values())
    ratios = [one / other for one, other in zip(raw.wall, ours.wall, strict=True)]
    return {
        "pairs": pairs,
        "texts": sum(map(len, texts)),
        "characters": sum(map(len, chain.from_iterable(texts))),
        "seconds": {"encode_batch": asdict(raw), "prepare": asdict(ours)},
        "pairs_per_second": {
            "encode_batch": pairs / statistics.median(raw.wall),
            "prepare": pairs / statistics.median(ours.wall),
        },
        "share": {"median": statistics.median(ratios), "each": ratios},
        "share_of_cpu_time": sum(raw.cpu) / sum(ours.cpu),
    }


def speed_table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| data | pairs | encode_batch, pairs/s | preparing, pairs/s | share (median of rounds) | range "
        "| share by processor time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        rates, share = result["pairs_per_second"], result["share"]
        lines.append(
            f"| {name} | {result['pairs']:,} | {rates['encode_batch']:,.0f} | {rates['prepare']:,.0f} "
            f"| {share['median']:.2f} | {min(share['each']):.2f} to {max(share['each']):.2f} "
            f"| {result['share_of_cpu_time']:.2f} |"
        )
    return "\n".join(lines)


# Memory


@dataclass(frozen=True)
class Look:
    """Memory at one moment, in bytes."""

    seconds: float
    examples: int
    resident: int
    """Of the process that prepares."""

    with_workers: int
    """Of it and all processes that it has started; what they share counts once for each."""


class Watch(threading.Thread):
    """Looks at this process until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.examples = 0
        self.looks: list[Look] = []
        self._since = time.perf_counter()
        self._finished = threading.Event()

    def run(self) -> None:
        """Look at once, now and then, and at the end."""
        finished = False
        while not finished:
            self._look()
            finished = self._finished.wait(0.25)
        self._look()

    def finish(self) -> None:
        """Stop looking."""
        self._finished.set()
        self.join()

    def _look(self) -> None:
        me = psutil.Process()
        resident = me.memory_info().rss
        children = 0
        for child in me.children(recursive=True):
            try:
                children += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        seconds = time.perf_counter() - self._since
        self.looks.append(Look(seconds, self.examples, resident, resident + children))


def prepare_and_watch(path: Path, setup: Setup) -> dict[str, Any]:
    """What a process of its own does."""
    watch = Watch()
    watch.start()

    def progress(number: int) -> None:
        watch.examples += number

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        prepared = setup.prepare(path, Path(cache), progress)
        seconds = time.perf_counter() - started
        stored = sum(file.stat().st_size for file in Path(cache).rglob("*.arrow"))
    watch.finish()
    return {
        "pairs": len(prepared.pairs),
        "input_bytes": path.stat().st_size,
        "stored_bytes": stored,
        "seconds": seconds,
        "looks": [asdict(look) for look in watch.looks],
    }


def memory_table(name: str, result: dict[str, Any]) -> str:
    looks, pairs = result["looks"], result["pairs"]
    lines = [
        f"{name}: {pairs:,} pairs, {result['input_bytes'] / 1e9:.2f} GB of jsonl, "
        f"{result['stored_bytes'] / 1e9:.2f} GB of tokens, {result['seconds']:.0f} s",
        "",
        "| tokenised | seconds | resident, MiB | with worker processes, MiB |",
        "|---|---|---|---|",
    ]
    for tenth in range(11):
        look = next((one for one in looks if one["examples"] >= pairs * tenth / 10), looks[-1])
        lines.append(
            f"| {look['examples']:,} | {look['seconds']:.0f} | {look['resident'] / MIB:,.0f} "
            f"| {look['with_workers'] / MIB:,.0f} |"
        )
    most = max(looks, key=lambda look: look["with_workers"])
    lines.append(
        f"| peak, at {most['examples']:,} | {most['seconds']:.0f} | "
        f"{max(look['resident'] for look in looks) / MIB:,.0f} | {most['with_workers'] / MIB:,.0f} |"
    )
    return "\n".join(lines)


def varied_rows(characters: int | None) -> Iterator[dict[str, str]]:
    """Real pairs again and again, no two alike: each time around, words begin elsewhere and are numbered.

    Args:
        characters: most characters of a text; None for all.
    """
    with (SHARED / "data" / DATASETS["alpaca"]).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for number, row in enumerate(cycle(rows)):
        texts = (row["instruction"], row["output_1"], row["output_2"])
        prompt, first, second = (_turned(text, number, len(rows))[:characters] for text in texts)
        yield {"prompt": prompt, "chosen": f" {first} ({number})", "rejected": f" {second} ({number + 1})"}


def _turned(text: str, number: int, period: int) -> str:
    words = text.split(" ")
    start = 7 * (number // period) % len(words)
    return f"{number}: " + " ".join((*words[start:], *words[:start]))


def write_pairs(path: Path, number: int) -> None:
    """Short pairs."""
    with path.open("w", encoding="utf-8") as file:
        for row, _ in zip(varied_rows(200), range(number), strict=False):
            file.write(json.dumps(row) + "\n")


def write_bytes(path: Path, size: float) -> None:
    """Long pairs, until the file has `size` bytes."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for row in varied_rows(None):
            if written >= size:
                return
            written += file.write(json.dumps(row) + "\n")


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Files are made, prepared by processes of their own, and removed."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "pairs.jsonl"
        if options.pairs:
            write_pairs(path, options.pairs)
            results["short pairs"] = _in_own_process(path, options)
        if options.gigabytes:
            write_bytes(path, options.gigabytes * 1e9)
            results["long pairs"] = _in_own_process(path, options)
    return results


def _in_own_process(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    arguments = ["--watch", path, "--model", options.model, "--workers", options.workers]
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def environment() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("orpo", "tokenizers", "transformers", "pyarrow")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="*", help=f"for speed: {', '.join(DATASETS)}; all by default")
    parser.add_argument("--model", default="bench26m", help="folder of ../shared/models with a tokenizer")
    parser.add_argument("--workers", default="auto", help="as data.workers")
    parser.add_argument("--rounds", type=int, default=5, help="for speed, after one that warms up")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    parser.add_argument("--pairs", type=int, default=200_000, help="for memory: number of short pairs, or 0")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="for memory: of long pairs, or 0")
    parser.add_argument("--folder", type=Path, help="for memory: where files are made; twice their size free")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    workers: Workers = "auto" if options.workers == "auto" else int(options.workers)
    if options.watch is not None:
        print(json.dumps(prepare_and_watch(options.watch, Setup.of(options.model, workers))))
        return
    before = environment()
    if options.memory:
        results = measure_memory(options)
        print("\n\n".join(memory_table(name, result) for name, result in results.items()))
    else:
        results = {}
        for name in options.datasets or DATASETS:
            setup = Setup.of(options.model, workers)
            results[name] = measure_speed(SHARED / "data" / DATASETS[name], setup, options.rounds)
        print(speed_table(results))
    record = {"environment": before, "model": options.model, "workers": options.workers, "results": results}
    file = options.results / f"preparation-{'memory' if options.memory else 'speed'}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
