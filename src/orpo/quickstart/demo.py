"""Align the bundled model on generated pairs and let a program judge its answers before and after."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from orpo.config import LoadedConfig, load_config
from orpo.errors import ConfigError
from orpo.evaluation.generation import generate
from orpo.modeling.load import load_model
from orpo.modeling.padding import padding_id
from orpo.quickstart.task import Split, Verdict, check, make_pairs, make_prompts
from orpo.report.curves import text_chart
from orpo.run import train
from orpo.rundir import RunDirectory
from orpo.text import duration, printable

TRAIN_PAIRS = 1500
EVAL_PAIRS = 200
JUDGED_PROMPTS = 150
MAX_NEW_TOKENS = 64
SEED = 7


def quickstart(
    overrides: Sequence[str], console: Console, report: Console, *, resume: str | None = None
) -> Mapping[str, Any]:
    """Run the demonstration.

    Args:
        overrides: ``key=value`` on top of the bundled configuration; see `with_place`.
        console: where progress goes.
        report: where the result goes.
        resume: see `orpo.run.train`.

    Returns:
        What summary.json holds, with the judged answers under `quickstart`.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)  # the model is so small that on a busy machine threads only wait for each other
    with as_file(files("orpo.quickstart")) as folder:
        loaded = _configure(folder, overrides)
        base = load_model(str(folder / "model"))
        prompts = make_prompts(JUDGED_PROMPTS, SEED, "eval")
        before = _answers(base.model, base.tokenizer, prompts)
        result = train(loaded, console=console, resume=resume)
    after = _answers(result.model, result.tokenizer, prompts)  # type: ignore[arg-type]

    verdicts = [
        [check(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        for answers in (before, after)
    ]
    _show(report, RunDirectory(result.path), prompts, before, after, verdicts)
    report.print(
        f"\nall of it took {duration(time.perf_counter() - started)}; model: {result.path / 'model'}",
        markup=False,
    )
    judged = {
        "prompts": len(prompts),
        "good_before": sum(v.ok for v in verdicts[0]),
        "good_after": sum(v.ok for v in verdicts[1]),
    }
    return {**result.summary, "quickstart": judged}


def _configure(folder: Path, overrides: Sequence[str]) -> LoadedConfig:
    """The bundled configuration, with the generated pairs written beside the run directory."""
    for override in overrides:
        if override.startswith(("model", "data")):
            raise ConfigError(
                f"the quickstart has its own model and data, and {override.partition('=')[0]} cannot be set",
                hint="Copy its config.yaml from the run directory, and train with `orpo train FILE.yaml`.",
            )
    bundled = str(folder / "config.yaml")
    output = Path(load_config(bundled, overrides).config.output).expanduser()
    data = output.with_name(output.name + "-data")
    data.mkdir(parents=True, exist_ok=True)
    counts: dict[Split, int] = {"train": TRAIN_PAIRS, "eval": EVAL_PAIRS}
    for split, count in counts.items():
        rows = make_pairs(count, SEED, split)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (data / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    places = {
        "model": folder / "model",
        "data.train": data / "train.jsonl",
        "data.eval": data / "eval.jsonl",
        "output": output,
    }
    # Quoted, since a path may hold what YAML takes for syntax.
    return load_config(
        bundled, [*overrides, *(f"{key}={json.dumps(str(path))}" for key, path in places.items())]
    )


def _answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """One sampled answer per prompt, at temperature 1: what the model says, not its best guess."""
    training = model.training
    model.eval()
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    ids: list[list[int]] = tokenizer(list(prompts))["input_ids"]  # type: ignore[assignment]
    responses = generate(
        model,
        ids,
        max_new_tokens=MAX_NEW_TOKENS,
        stop_ids=[eos],
        pad_id=padding_id(tokenizer),
        temperature=1.0,
        seed=SEED,
    )
    model.train(training)
    return tokenizer.batch_decode(responses)


def _show(
    report: Console,
    run: RunDirectory,
    prompts: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    verdicts: Sequence[Sequence[Verdict]],
) -> None:
    rows = run.read_metrics("eval")
    report.print("\nmean log-probability per token of held-out responses", style="bold")
    report.print(
        text_chart(
            [row["step"] for row in rows],
            {side: [row[f"logps/{side}"] for row in rows] for side in ("chosen", "rejected")},
        ),
        markup=False,
    )
    first, last = rows[0], rows[-1]
    table = Table(title="\nbefore and after", title_style="bold", title_justify="left")
    for heading in ("held out", "base model", "aligned"):
        table.add_column(heading)
    table.add_row("pair accuracy", *(f"{row['rewards/accuracies']:.1%}" for row in (first, last)))
    table.add_row("mean log odds ratio", *(f"{row['log_odds_chosen']:+.3f}" for row in (first, last)))
    good = [sum(v.ok for v in side) for side in verdicts]
    table.add_row(
        "answers that pass the program", *(f"{n} of {len(prompts)} ({n / len(prompts):.0%})" for n in good)
    )
    report.print(table)
    outcomes = [(b.ok, a.ok) for b, a in zip(*verdicts, strict=True)]
    won, lost = outcomes.count((False, True)), outcomes.count((True, False))
    report.print(
        f"aligned against base, same prompts: {won} won, {lost} lost, {len(prompts) - won - lost} tied"
    )
    for i in _telling(outcomes):
        sample = Table(title=f"\n{printable(prompts[i])}", title_style="italic", title_justify="left")
        for heading in ("", "answer", "verdict"):
            sample.add_column(heading)
        for name, answers, side in (("base", before, verdicts[0]), ("aligned", after, verdicts[1])):
            sample.add_row(
                name, Text(printable(answers[i].strip())), "good" if side[i].ok else side[i].reason
            )
        report.print(sample)


def _telling(outcomes: Sequence[tuple[bool, bool]], count: int = 3) -> list[int]:
    """Three prompts for people to read: the first of each kind of outcome, so that losses show too."""
    kinds = [(False, True), (True, True), (True, False), (False, False)]
    firsts = [outcomes.index(kind) for kind in kinds if kind in outcomes]
    others = [i for i in range(len(outcomes)) if i not in firsts]
    return [*firsts, *others][:count]
