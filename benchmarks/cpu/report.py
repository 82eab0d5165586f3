"""Tables and a picture of the results of `run` and `memory`, from their files alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

TITLES = {"hh": "HH harmless", "alpaca": "AlpacaEval"}

LABELS = {
    "trl": "TRL",
    "trl, huge pages": "TRL with huge pages",
    "padded, whole logits": "padded, whole logits",
    "packed, whole logits": "packed, whole logits",
    "shared, whole logits": "shared, whole logits",
    "ours": "shared, fused head (ours)",
    "ours, bf16": "ours in bf16",
    "ours, definition trl": "ours, `definition: trl`",
    "ours, selective": "ours, selective checkpointing",
    "ours, selective, definition trl": "ours, selective checkpointing, `definition: trl`",
    "ours, checkpointed": "ours, layers checkpointed",
    "ours, max_tokens auto": "ours, `max_tokens: auto`",
    "ours, one pair at a time": "ours, one pair at a time",
    "ours, compiled": "ours, `compile: true`",
    "ours, small pages": "ours without huge pages",
}
"""All sides, in the order of the tables."""

LADDER = (
    "trl",
    *("padded, whole logits", "packed, whole logits", "shared, whole logits"),
    *("ours", "ours, bf16"),
)
"""Those in the picture: each adds one thing to the one before."""

COLOURS = {"trl": "#b2182b", "ours": "#2166ac", "ours, bf16": "#2166ac"}

MIB = 2**20


@dataclass(frozen=True)
class Results:
    """What is known of one data set.  A file that is not there is an empty record."""

    dataset: str
    run: dict[str, Any]
    memory: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, dataset: str) -> Results:
        return cls(dataset, *(_read(folder / f"engine-{dataset}-{kind}.json") for kind in ("run", "memory")))

    def seconds(self, side: str) -> list[float]:
        return self.run["sides"][side]["seconds"]

    def pairs_per_second(self, side: str) -> float:
        seconds = self.seconds(side)
        return len(seconds) * self.run["settings"]["batch_size"] / sum(seconds)

    def speedup(self, side: str, over: str) -> tuple[float, float]:
        """How much faster `side` is: in pairs per second, and the median over batches."""
        fast, slow = self.seconds(side), self.seconds(over)
        return sum(slow) / sum(fast), median(s / f for s, f in zip(slow, fast, strict=True))

    def losses(self) -> list[tuple[float, float]]:
        """Losses of `definition: trl` and of TRL, per batch."""
        losses = (self.run["sides"][side]["losses"] for side in ("ours, definition trl", "trl"))
        return list(zip(*losses, strict=True))

    def above_state(self, side: str) -> int:
        """Bytes of the peak above parameters and optimizer state; interpreter and libraries are in it."""
        resident = self.memory["sides"][side]
        return max(resident["peak"]) - resident["state_bytes"]

    def above_before(self, side: str) -> int:
        """Bytes of the last step's peak above what was resident right before that step."""
        resident = self.memory["sides"][side]
        return resident["peak"][-1] - resident["before"][-1]

    def share_of_products(self, *, attention: bool) -> float:
        """Of the steps' time, what their own matrix products take alone."""
        products = self.run["products"]
        seconds = sum(products["product_seconds"])
        if not attention:
            seconds -= sum(products["attention_seconds"])
        return seconds / sum(products["step_seconds"])

    def utilisation(self) -> float:
        """Useful operations per second of the steps, over the rate of a large product."""
        products = self.run["products"]
        rate = sum(products["useful_flops"]) / sum(products["step_seconds"])
        return rate / self.run["gemm_flops_per_second"]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_report(folder: Path) -> str:
    """Write engine.md and engine.svg beside the results, and return the former."""
    found = [r for r in (Results.read(folder, dataset) for dataset in TITLES) if r.run or r.memory]
    parts = ["# The engine, on a processor", _conditions(found), _summary(found)]
    parts += ["![time and memory](engine.svg)"]
    for results in found:
        parts += [f"## {TITLES[results.dataset]}", _ladder(results), _losses(results), _batches(results)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    (folder / "engine.md").write_text(text, encoding="utf-8")
    draw(found, folder / "engine.svg")
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column is text."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _conditions(found: Sequence[Results]) -> str:
    """What the results were made with: a line for each combination that there is."""
    made: dict[str, list[str]] = {}
    for results in found:
        for kind, record in (("run", results.run), ("memory", results.memory)):
            if record:
                made.setdefault(_condition(record), []).append(f"`{kind} {results.dataset}`")
    return "\n".join(f"* {', '.join(names)}: {condition}" for condition, names in made.items())


def _condition(record: dict[str, Any]) -> str:
    at, settings = record["environment"], record["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in at["versions"].items())
    changed = f" and {at['changed_files']} changed files" if at["changed_files"] else ""
    return (
        f"commit {at['commit']}{changed}; {at['processor']}, {at['threads']} threads; {versions}; model and "
        f"tokenizer {settings['model']}, {settings['layers']} layers; {settings['batch_size']} pairs per "
        f"step, max_length {settings['max_length']}"
    )


def _summary(found: Sequence[Results]) -> str:
    """The figures that matter most, a column per data set."""

    def faster(side: str, over: str) -> Callable[[Results], str]:
        def cell(results: Results) -> str:
            total, middle = results.speedup(side, over)
            return f"{total:.2f}× ({middle:.2f}×)"

        return cell

    def leaner(side: str) -> Callable[[Results], str]:
        def cell(results: Results) -> str:
            above_state = results.above_state("trl") / results.above_state(side)
            above_before = results.above_before("trl") / results.above_before(side)
            return f"{above_state:.2f}× ({above_before:.2f}×)"

        return cell

    def same(results: Results) -> str:
        return f"{max(abs(ours - trl) for ours, trl in results.losses()):.1e}"

    def share(results: Results) -> str:
        whole, without = (results.share_of_products(attention=flag) for flag in (True, False))
        return f"{whole:.0%} ({without:.0%})"

    rows: list[tuple[str, Callable[[Results], str]]] = [
        ("pairs/s over TRL, `definition: paper` (median of the batches' ratios)", faster("ours", "trl")),
        ("pairs/s over TRL, `definition: trl`", faster("ours, definition trl", "trl")),
        ("largest difference of its loss from TRL's", same),
        ("peak memory above model and optimizer, TRL's over ours (above what was resident)", leaner("ours")),
        ("the same, ours one pair at a time", leaner("ours, one pair at a time")),
        ("our step's own matrix products, alone, over the step (without attention's)", share),
        ("useful FLOPs over time × the rate of a large product", lambda r: f"{r.utilisation():.0%}"),
        ("bf16 over our own float32", faster("ours, bf16", "ours")),
    ]
    return table(
        ["", *(TITLES[results.dataset] for results in found)],
        [[name, *(_or_dash(partial(cell, results)) for results in found)] for name, cell in rows],
    )


def _or_dash(cell: Callable[[], str]) -> str:
    """A cell, or a dash where what it needs was not measured."""
    try:
        return cell()
    except KeyError:
        return "–"


def _ladder(results: Results) -> str:
    """Each side's time and memory, against TRL and against ours."""

    def ratio(side: str, over: str) -> str:
        return f"{results.speedup(side, over)[0]:.2f}×"

    def mib(size: int) -> str:
        return f"{size / MIB:,.0f}"

    columns: dict[str, Callable[[str], str]] = {
        "pairs/s": lambda side: f"{results.pairs_per_second(side):.2f}",
        "over TRL": lambda side: ratio(side, "trl"),
        "over ours": lambda side: ratio(side, "ours"),
        "peak, MiB": lambda side: mib(max(results.memory["sides"][side]["peak"])),
        "resident before the step": lambda side: mib(results.memory["sides"][side]["before"][-1]),
        "above model and optimizer": lambda side: mib(results.above_state(side)),
        "TRL's over it": lambda side: f"{results.above_state('trl') / results.above_state(side):.2f}×",
        "above what was resident": lambda side: mib(results.above_before(side)),
        "TRL's over that": lambda side: f"{results.above_before('trl') / results.above_before(side):.2f}×",
    }
    measured = results.run.get("sides", {}).keys() | results.memory.get("sides", {}).keys()
    rows = [
        [label, *(_or_dash(partial(column, side)) for column in columns.values())]
        for side, label in LABELS.items()
        if side in measured
    ]
    return table(["", *columns], rows)


def _losses(results: Results) -> str:
    """Loss of every batch on both sides, under the same definition."""
    try:
        losses = results.losses()
    except KeyError:
        return ""
    return table(
        ["step", "ours, `definition: trl`", "TRL", "difference"],
        [
            [str(step), f"{ours:.7f}", f"{trl:.7f}", f"{ours - trl:.1e}"]
            for step, (ours, trl) in enumerate(losses, start=1)
        ],
    )


def _batches(results: Results) -> str:
    """Tokens of the measured batches, and of the one that memory was measured on."""
    rows = [(f"step {step}", batch) for step, batch in enumerate(results.run.get("batches", ()), start=1)] + [
        ("memory", batch) for batch in results.memory.get("batches", ())
    ]
    return table(
        ["tokens", "prompts", "chosen", "rejected", "held shared", "packed", "padded"],
        [[name, *(f"{number:,}" for number in batch.values())] for name, batch in rows],
    )


def draw(found: Sequence[Results], path: Path) -> None:
    """Speed and memory of each rung of the ladder, a row of two pictures per data set."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "orpo"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(found), 2, figsize=(12, 3 * len(found)), layout="constrained", squeeze=False
    )
    for row, results in zip(axes, found, strict=True):
        panels = (
            ("pairs per second (more is better)", _speeds(results), _times_faster),
            ("a step's peak GiB above what was resident (less is better)", _sizes(results), _times_leaner),
        )
        for axis, (what, figures, times) in zip(row, panels, strict=True):
            sides = [side for side in LADDER if side in figures]
            axis.set_visible(bool(sides))
            bars = axis.barh(
                [LABELS[side] for side in sides],
                [figures[side] for side in sides],
                color=[COLOURS.get(side, "#92c5de") for side in sides],
            )
            axis.bar_label(bars, [_bar_label(side, figures, times) for side in sides], padding=4, fontsize=9)
            axis.margins(x=0.4)
            axis.set_xlabel(what, fontsize=9)
            axis.set_title(TITLES[results.dataset], fontsize=11, loc="left")
            axis.spines[["top", "right"]].set_visible(False)
            axis.invert_yaxis()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _speeds(results: Results) -> dict[str, float]:
    return {side: results.pairs_per_second(side) for side in results.run.get("sides", ())}


def _sizes(results: Results) -> dict[str, float]:
    return {side: results.above_before(side) / 2**30 for side in results.memory.get("sides", ())}


def _times_faster(figure: float, trl: float) -> float:
    return figure / trl


def _times_leaner(figure: float, trl: float) -> float:
    return trl / figure


def _bar_label(side: str, figures: dict[str, float], times: Callable[[float, float], float]) -> str:
    """A bar's value, and how many times better than TRL's it is."""
    text = f"{figures[side]:.2f}"
    if side == "trl" or "trl" not in figures:
        return text
    return f"{text}  ({times(figures[side], figures['trl']):.1f}×)"
