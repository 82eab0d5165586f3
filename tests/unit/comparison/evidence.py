"""Evidence of a comparison that never was: runs, evaluations and their figures, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from orpo.comparison.evidence import Evidence, Trained
from orpo.comparison.plan import Plan, make_plan
from orpo.config.compare import BASE
from orpo.config.systems import load_comparison
from orpo.rundir.evaluations import (
    Data,
    Evaluation,
    EvaluationRecord,
    PairRow,
    PairSide,
    ResponseRow,
    Subject,
)
from orpo.rundir.records import Data as DataRecord
from orpo.rundir.records import (
    Definition,
    LogRow,
    MetricsRow,
    Model,
    Objective,
    RunRecords,
    Summary,
    Template,
)
from orpo.statistics.intervals import Floats

TEXT = """\
model: base
data: {train: train.jsonl, eval: eval.jsonl}
training: {batch_size: 8}
output: compared
compare:
  budget: 64
  seeds: [1, 2]
  systems:
    - {name: sft, objective: {name: sft}}
    - {name: orpo, objective: {lambda: [0.1, 1.0]}}
    - {name: dpo, after: sft, objective: {name: dpo}}
  evaluation: {samples: 2}
"""

PAIRS, PROMPTS, SAMPLES = 30, 12, 2

Shifts = Mapping[str, tuple[float, float]]
"""By system, how chosen and rejected log-probabilities differ from those before training."""

Say = Callable[[str, int, int, int], str]
"""The response of a system with a seed to a prompt, as its sample of a number."""


def plan(folder: Path, text: str = TEXT) -> Plan:
    """What a file asks for."""
    path = folder / "compare.yaml"
    path.write_text(text, encoding="utf-8")
    return make_plan(load_comparison(path))


def says(name: str, seed: int, prompt: int, sample: int) -> str:
    """Something else each time."""
    return f"{name} says {prompt} with {seed} and {sample}"


def evidence(of: Plan, shifts: Shifts, say: Say = says, peaks: Mapping[str, float] | None = None) -> Evidence:
    """Evidence in which a shift is the same for every pair but for noise; all other systems are as before."""
    rng = np.random.default_rng(0)
    before = rng.normal(-2.0, 0.5, (PAIRS, 2)).clip(-5, -0.1)

    def evaluation(name: str, seed: int) -> Evaluation:
        moved = before + np.array(shifts.get(name, (0.0, 0.0)))
        noise = rng.normal(0, 0.01, before.shape) if name != BASE else 0.0
        return _evaluation(name, seed, (moved + noise).clip(max=-1e-3), say)

    return Evidence(
        of,
        {seed: evaluation(BASE, seed) for seed in of.section.seeds},
        {
            one.name: {
                seed: Trained(
                    phases,
                    tuple(
                        _run(len(phases), (peaks or {}).get(one.name, 1e9), shifts.get(one.name, (0.0, 0.0)))
                        for _ in phases
                    ),
                    evaluation(one.name, seed),
                )
                for seed, phases in one.phases.items()
            }
            for one in of.systems
        },
        {one.name: {} for one in of.systems},
    )


def _evaluation(name: str, seed: int, logps: Floats, say: Say) -> Evaluation:
    pairs = tuple(
        PairRow(
            index=index,
            source="eval.jsonl",
            where=f"eval.jsonl:{index + 1}",
            prompt=f"prompt {index}",
            chosen=PairSide(tokens=4, logp=float(chosen), logp_sum=4 * float(chosen)),
            rejected=PairSide(tokens=4, logp=float(rejected), logp_sum=4 * float(rejected)),
        )
        for index, (chosen, rejected) in enumerate(logps)
    )
    responses = tuple(
        ResponseRow(
            prompt_index=prompt,
            sample=sample,
            instruction=f"question {prompt}",
            prompt=f"question {prompt}",
            response=say(name, seed, prompt, sample),
            tokens=4,
            truncated=False,
        )
        for prompt in range(PROMPTS)
        for sample in range(SAMPLES)
    )
    record = EvaluationRecord(
        status="finished",
        of=Subject(kind="run", name=name, path=None, url=None, step=1, revision=None, fingerprint=None),
        command="orpo compare",
        versions={},
        settings={},
        data=Data(pairs=None, prompts=None),
    )
    return Evaluation(Path(name), record, pairs, responses)


def _run(phases: int, peak: float, shift: tuple[float, float]) -> RunRecords:
    """A run of 8 steps, all phases together, in which log-probabilities move by a shift."""
    steps = 8 // phases
    logs = {
        0: {"logps/chosen": -2.0, "logps/rejected": -2.5},
        steps: {"logps/chosen": -2.0 + shift[0], "logps/rejected": -2.5 + shift[1]},
    }
    return RunRecords(
        path=Path("run"),
        definition=Definition(
            schema_version=1,
            objective=Objective(name="orpo", title="", formula=""),
            model=Model(
                name="base",
                is_reward_model=False,
                revision=None,
                commit=None,
                random_init=False,
                lora=None,
                parameters=1,
                trainable_parameters=1,
            ),
            template=Template(name="none", sha256=None),
            data=DataRecord(train=(), eval=(), tokens={}, used={}, max_length=64, truncation="cut"),
            versions={"orpo": "0"},
            engine={},
        ),
        metrics=tuple(
            MetricsRow.model_validate({"step": step, "split": "eval"} | row) for step, row in logs.items()
        ),
        timing=(
            LogRow.model_validate(
                {"step": steps, "seconds": 2.0, "pairs_per_second": 4.0 * steps, "peak_memory_bytes": peak}
            ),
        ),
        summary=Summary(
            schema_version=1,
            status="finished",
            steps=steps,
            model_step=steps,
            max_tokens=(),
            skipped_steps=(),
            warnings=(),
            assessment=None,
            resumed=(),
            wall_seconds=5.0,
        ),
        failure=None,
        holder=None,
        half_written=(),
    )
