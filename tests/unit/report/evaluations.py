"""Evaluations of runs as `orpo eval` leaves them, made up on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orpo.rundir.evaluations import (
    RUN_EVALUATION,
    Data,
    DataUsed,
    DiversityEvaluation,
    EvaluationDirectory,
    EvaluationRecord,
    Figure,
    GenerationEvaluation,
    LengthFigures,
    PairsEvaluation,
    ResponseRow,
    SourceFigures,
    Subject,
)


def figure(value: float, spread: float = 0.05) -> Figure:
    """A value in the middle of its interval."""
    return Figure(
        value=value, interval=(value - spread, value + spread), method="BCa bootstrap over 40 prompts"
    )


def pair_figures(accuracy: float, count: int) -> dict[str, Any]:
    """Figures of some pairs of a language model."""
    return {
        "count": count,
        "accuracy": figure(accuracy),
        "margin": figure(0.4),
        "log_odds": figure(0.9),
        "logps_chosen": figure(-1.5),
        "logps_rejected": figure(-1.9),
        "rewards_chosen": None,
        "rewards_rejected": None,
    }


def record(accuracy: float = 0.7, **changes: Any) -> EvaluationRecord:
    """evaluation.json of a run."""
    parts: dict[str, Any] = {
        "status": "finished",
        "of": Subject(
            kind="run", name="good", path="good", url=None, step=40, revision=None, fingerprint=None
        ),
        "command": "orpo eval good --samples 4",
        "versions": {"python": "3.11.7", "orpo": "0.1.0"},
        "settings": {"max_length": 256, "temperature": 0.7, "samples": 4, "seed": 0},
        "data": Data(
            pairs=DataUsed(source="eval.jsonl", read=42, count=40, dropped={"empty response": 2}),
            prompts=DataUsed(source="prompts.jsonl", read=8, count=8, dropped={}),
        ),
        "pairs": PairsEvaluation(
            **pair_figures(accuracy, 40),
            by_source=(
                SourceFigures(name="easy.jsonl", **pair_figures(0.8, 20)),
                SourceFigures(name="hard.jsonl", **pair_figures(0.6, 20)),
            ),
            by_length=(LengthFigures(bounds=(3, 17), **pair_figures(0.75, 40)),),
        ),
        "generation": GenerationEvaluation(
            prompts=8,
            samples=2,
            responses=16,
            failed=0,
            truncated=figure(0.25),
            empty=Figure(value=0.0, interval=None, method=None),
            mean_tokens=figure(31.5, 4),
            mean_characters=figure(140.0, 12),
            spent=None,
        ),
        "diversity": DiversityEvaluation(
            embedder="hashed character n-grams",
            comparable_with_paper=False,
            per_input=figure(0.62),
            across_inputs=figure(0.31),
            distinct_n={"1": figure(0.5), "2": figure(0.8)},
            self_bleu=figure(0.2),
        ),
    }
    return EvaluationRecord(**(parts | changes))


def responses(texts: Sequence[Sequence[str]], prompts: Sequence[str] = ()) -> list[ResponseRow]:
    """Rows for prompts that were answered by some samples each."""
    return [
        ResponseRow(
            prompt_index=index,
            sample=sample,
            instruction=prompts[index] if prompts else f"Prompt number {index}?",
            prompt="",
            response=text,
            tokens=len(text.split()),
            truncated=sample == 1,
        )
        for index, samples in enumerate(texts)
        for sample, text in enumerate(samples)
    ]


def evaluate(run: Path, found: EvaluationRecord, rows: Sequence[ResponseRow]) -> Path:
    """Write the evaluation of a run."""
    directory = EvaluationDirectory(run / RUN_EVALUATION)
    directory.write_record(found)
    directory.append_responses(rows)
    return run
