#!/usr/bin/env python3
"""What supervised fine-tuning and ORPO do to chosen and rejected responses, on real pairs.

    python benchmarks/phenomenon.py run hh --precision bfloat16   # lambda 0, 0.1 and 1, one epoch each
    python benchmarks/phenomenon.py run hh --model stories260k --lambdas 0.1
    python benchmarks/phenomenon.py run alpaca
    python benchmarks/phenomenon.py draw                         # pictures in docs/images, table on stdout

Data and models are those of `../shared` (or $ORPO_SHARED).  Results are kept in benchmarks/results, one
file per run, and a run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("ORPO_SHARED", ROOT.parent / "shared"))
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "images"
LAMBDAS = (0.0, 0.1, 1.0)
ALPACA_PAIRS = 1000
ALPACA_CHARACTERS = 1200
"""Most characters of both outputs together: the short pairs, so that an epoch fits a laptop."""


def alpaca_rows(name: str, limit: int | None) -> Iterator[dict[str, str]]:
    """Judgements as plain-string pairs in the text format that base6m was pretrained on."""
    taken = 0
    with (SHARED / "data/alpaca_eval" / name).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            outputs = (row["output_1"], row["output_2"])
            if sum(map(len, outputs)) > ALPACA_CHARACTERS or taken == limit:
                continue
            chosen, rejected = outputs if row["preference"] < 1.5 else outputs[::-1]
            taken += 1
            yield {"prompt": row["instruction"] + "\n\n", "chosen": chosen, "rejected": rejected}


def result_path(data: str, model: str, lambda_: float) -> Path:
    return RESULTS / f"phenomenon-{data}-{model}-lambda{lambda_:g}.json"


def run(data: str, model: str, lambda_: float, precision: str) -> None:
    """Train once and keep what the run directory holds."""
    from rich.console import Console

    from orpo import train

    path = result_path(data, model, lambda_)
    if path.exists():
        print(f"{path.name} is there already")
        return
    rows: dict[str, Any] = {}
    sources: dict[str, Any] = {"train": "in memory"}
    if data == "hh":
        folder = str(SHARED / "data/hh_rlhf_harmless")
        sources = {"train": {"path": folder, "split": "train"}, "eval": {"path": folder, "split": "eval"}}
    else:
        rows = {
            "train_rows": list(alpaca_rows("train.jsonl", ALPACA_PAIRS)),
            "eval_rows": list(alpaca_rows("eval.jsonl", None)),
        }
    with TemporaryDirectory() as scratch:
        config = {
            "model": str(SHARED / "models" / model),
            "data": {**sources, "max_length": 512},
            "objective": {"lambda": lambda_},
            "training": {
                "batch_size": 32,
                "learning_rate": 5e-4,
                "epochs": 1,
                "precision": precision,
                "log_every": 2,
                "eval_every": 9,
                "max_tokens": 4096,
            },
            "output": str(Path(scratch) / "run"),
        }
        result = train(config, console=Console(stderr=True), **rows)
        lines = (result.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        definition = json.loads((result.path / "definition.json").read_text(encoding="utf-8"))
    for use in ("train", "eval"):
        for source in definition["data"][use]:
            source["path"] = Path(source["path"]).name
    definition["model"]["name"] = model
    record = {
        "definition": definition,
        "training": config["training"],
        "wall_seconds": round(result.summary["wall_seconds"]),
        "metrics": [json.loads(line) for line in lines],
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")


def evaluations(data: str, model: str, lambda_: float) -> list[dict[str, float]]:
    record = json.loads(result_path(data, model, lambda_).read_text(encoding="utf-8"))
    return [row for row in record["metrics"] if row["split"] == "eval"]


def table() -> None:
    """Before and after of every run that is there, as Markdown."""
    print("| data | model | lambda | | NLL | chosen | rejected | margin | log odds | pair accuracy |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in sorted(RESULTS.glob("phenomenon-*.json")):
        data, model, lambda_ = path.stem.removeprefix("phenomenon-").rsplit("-", 2)
        rows = evaluations(data, model, float(lambda_.removeprefix("lambda")))
        for name, row in (("before", rows[0]), ("after", rows[-1])):
            chosen, rejected = row["logps/chosen"], row["logps/rejected"]
            weight = lambda_.removeprefix("lambda")
            print(
                f"| {data} | {model} | {weight} | {name} | {row['nll_loss']:.4f} | {chosen:.4f} |"
                f" {rejected:.4f} | {chosen - rejected:.4f} | {row['log_odds_chosen']:.4f} |"
                f" {row['rewards/accuracies']:.3f} |"
            )


def draw(data: str, model: str) -> None:
    """Chosen and rejected log-probability, and their margin, over training for each lambda."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "orpo"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(14, 3.4), layout="constrained")
    for axis, lambda_ in zip(axes, LAMBDAS, strict=False):
        rows = evaluations(data, model, lambda_)
        steps = [row["step"] for row in rows]
        axis.plot(steps, [row["logps/chosen"] for row in rows], "o-", color="#1b7837", label="chosen")
        axis.plot(steps, [row["logps/rejected"] for row in rows], "s--", color="#b2182b", label="rejected")
        axis.set_title(f"lambda = {lambda_:g}" + (" (SFT on chosen)" if lambda_ == 0 else ""))
        axis.set_xlabel("step")
        axis.sharey(axes[0])
        axes[3].plot(
            steps,
            [row["logps/chosen"] - row["logps/rejected"] for row in rows],
            "o-",
            label=f"lambda = {lambda_:g}",
        )
    axes[0].set_ylabel("mean log-probability per token, held out")
    axes[0].legend()
    axes[3].set_title("margin, chosen - rejected")
    axes[3].set_xlabel("step")
    axes[3].legend()
    names = {"hh": "HH-RLHF harmless", "alpaca": "AlpacaEval judgements, short pairs"}
    figure.suptitle(f"{names[data]}: {model}, one epoch, learning rate 5e-4")
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / f"phenomenon-{data}.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("data", choices=["hh", "alpaca"])
    runs.add_argument("--model", default="base6m", choices=["base6m", "stories260k"])
    runs.add_argument("--lambdas", type=float, nargs="+", default=list(LAMBDAS))
    runs.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    verbs.add_parser("draw")
    arguments = parser.parse_args()
    if arguments.verb == "run":
        for lambda_ in arguments.lambdas:
            run(arguments.data, arguments.model, lambda_, arguments.precision)
        return
    for data in ("hh", "alpaca"):
        draw(data, "base6m")
    table()


if __name__ == "__main__":
    main()
