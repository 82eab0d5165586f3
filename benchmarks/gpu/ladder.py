"""Training steps of every side: ours rung by rung, and TRL's ORPOTrainer with and without Liger's kernels.

Each side is its own unmodified training loop on the same pairs, weights and optimizer settings.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any, Literal

import torch
from counting import memory_terms, peak_flops, useful_flops
from cpu.trl_peer import trl_trainer
from peft import LoraConfig
from results import Record
from timing import forget, product_rate
from transformers import PreTrainedModel, TrainerCallback
from workload import CONFIGS, Pairs, dummy_tokenizer, new_model, read_pairs

from orpo.batch import Layout, PackedAttention, PromptTokens
from orpo.config.schema import TrainingSection
from orpo.data.batching import split_batch
from orpo.data.collate import collate
from orpo.errors import ResourceError
from orpo.modeling.compilation import compile_layers
from orpo.modeling.engine import build_scorer
from orpo.modeling.head import CHUNK_BYTES, KEEP_BYTES
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer, unwrapped
from orpo.objectives import ORPO
from orpo.ops.distributed import World
from orpo.training.batches import Batches
from orpo.training.loop import TrainingLoop

LAMBDA = 0.1
RATE = 8e-6
RANK = 16
WARMUP_STEPS = 1


@dataclass(frozen=True)
class Plan:
    """One model and method, on all rungs."""

    shape: str
    method: Literal["full", "lora"]
    max_tokens: int
    """Tokens of a micro-batch, padding included, which is what memory allows."""

    steps: int = 3
    batch_size: int = 64
    longest: int | None = None
    float32_rung: bool = False
    """Whether the last rung is repeated in float32, which the largest models have no memory for."""

    trl_pairs: int = 8
    """Pairs of a micro-batch of TRL's."""


PLANS = [
    Plan("llama-8b", "full", max_tokens=3072, trl_pairs=4),
    Plan("llama-8b", "lora", max_tokens=8192),
    Plan("qwen-7b", "full", max_tokens=3072, trl_pairs=4),
    Plan("qwen-7b", "lora", max_tokens=8192),
    Plan("llama-1b", "full", max_tokens=16_384, float32_rung=True),
    Plan("llama-1b", "lora", max_tokens=16_384),
]


def plan_of(shape: str, method: str, *, smoke: bool) -> Plan:
    """The plan of a model and method, or the like of it for a smoke test."""
    (plan,) = (plan for plan in PLANS if (plan.shape, plan.method) == (shape, method))
    if not smoke:
        return plan
    return replace(plan, shape="smoke", max_tokens=256, steps=1, batch_size=4, longest=20, trl_pairs=2)


@dataclass(frozen=True)
class Rung:
    """One way of computing our step."""

    layout: Layout
    fused: bool
    compiled: bool = False
    """Whether the layers' code is compiled."""

    dtype: torch.dtype = torch.bfloat16


RUNGS = {
    "shared + fused": Rung(Layout.SHARED, fused=True),
    "padded": Rung(Layout.PADDED, fused=False),
    "packed": Rung(Layout.PACKED, fused=False),
    "shared": Rung(Layout.SHARED, fused=False),
}
"""In the order of what is worth knowing if time runs out; the ladder climbs from padded to fused."""

FLOAT32_RUNG = {"shared + fused, float32": Rung(Layout.SHARED, fused=True, dtype=torch.float32)}
COMPILED_RUNG = {"shared + fused, compiled": Rung(Layout.SHARED, fused=True, compiled=True)}


@dataclass
class StepClock(TrainerCallback):
    """Seconds from the end of a step to the end of the next, and the memory peak of the measured ones."""

    device: torch.device
    deadline: float
    """Of `time.perf_counter`; training stops at the step that passes it."""

    ends: list[float] = field(default_factory=list)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            if len(self.ends) < WARMUP_STEPS:
                torch.cuda.reset_peak_memory_stats()
        self.ends.append(time.perf_counter())
        if self.ends[-1] > self.deadline:
            control.should_training_stop = True
        return control

    @property
    def seconds(self) -> list[float]:
        """Of each step after the warm-up."""
        ends = self.ends[WARMUP_STEPS - 1 :]
        return [after - before for before, after in pairwise(ends)]


def run_ladder(plan: Plan, record: Record, device: torch.device, seconds: float) -> None:
    """Measure the rungs of ours."""
    _run_rungs(RUNGS | (FLOAT32_RUNG if plan.float32_rung else {}), plan, record, device, seconds)


def run_compiled(plan: Plan, record: Record, device: torch.device, seconds: float) -> None:
    """Measure ours with compiled layers; the warm-up step waits for the compiler."""
    _run_rungs(COMPILED_RUNG, plan, record, device, seconds)


def _run_rungs(
    rungs: dict[str, Rung], plan: Plan, record: Record, device: torch.device, seconds: float
) -> None:
    """Measure every rung that fits into the time."""
    stop = time.perf_counter() + seconds
    pairs = read_pairs(
        plan.shape, steps=WARMUP_STEPS + plan.steps, batch_size=plan.batch_size, longest=plan.longest
    )
    for i, (name, rung) in enumerate(rungs.items()):
        started = time.perf_counter()
        share = (stop - started) / (len(rungs) - i)
        if share < seconds / 20:
            record.add(name, skipped="no time left")
            continue
        clock = StepClock(device, started + 0.8 * share)
        try:
            scorer, max_tokens = _train_ours(plan, rung, pairs, clock)
        except (torch.OutOfMemoryError, ResourceError) as error:
            record.add(name, failed=str(error).splitlines()[0])
        else:
            if rung == RUNGS["shared + fused"]:
                _report_memory(plan, pairs, scorer, len(clock.seconds), max_tokens, record, device)
            _report(name, plan, pairs, clock, rung.dtype, record)
            del scorer
        forget(device)


def run_trl(plan: Plan, record: Record, device: torch.device, seconds: float) -> None:
    """Measure TRL's trainer, then with Liger's kernels, as far as both are installed."""
    stop = time.perf_counter() + seconds
    pairs = read_pairs(
        plan.shape, steps=WARMUP_STEPS + plan.steps, batch_size=plan.batch_size, longest=plan.longest
    )
    for i, (name, packages) in enumerate({"trl": ["trl"], "trl + liger": ["trl", "liger-kernel"]}.items()):
        missing = [package for package in packages if not _installed(package)]
        if missing:
            record.add(name, skipped=f"{', '.join(missing)} not installed")
            continue
        started = time.perf_counter()
        clock = StepClock(device, started + 0.8 * (stop - started) / (2 - i))
        try:
            _train_trl(plan, pairs, clock, use_liger="liger-kernel" in packages)
        except torch.OutOfMemoryError as error:
            record.add(name, failed=str(error).splitlines()[0])
        else:
            _report(name, plan, pairs, clock, torch.bfloat16, record)
        forget(device)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _model(plan: Plan, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    if device.type == "cpu":
        dtype = torch.float32  # a smoke test's
    return new_model(plan.shape, device, dtype)


def _train_ours(plan: Plan, rung: Rung, pairs: Pairs, clock: StepClock) -> tuple[PairScorer, int]:
    """The scorer after its steps, and the tokens of a micro-batch at the end: fewer, if memory ran out."""
    model: Any = _model(plan, clock.device, rung.dtype)
    if plan.method == "lora":
        model = add_lora(model, r=RANK, alpha=2 * RANK, dropout=0.0, target="all-linear")
    if rung.fused:
        scorer = build_scorer(model, layout=rung.layout, max_length=1024)
    else:
        scorer = PairScorer(model, layout=rung.layout, head=None)
    if rung.compiled:  # after the self-check, which looks into the layers
        # The compiler of C++ that a processor needs would make a smoke test slow.
        compile_layers(unwrapped(model), backend="inductor" if clock.device.type == "cuda" else "eager")
    half = rung.dtype == torch.bfloat16 and clock.device.type == "cuda"
    objective, world = ORPO(LAMBDA, "paper"), World(0, 1, clock.device)
    settings = TrainingSection(
        batch_size=pairs.batch_size,
        max_steps=WARMUP_STEPS + plan.steps,
        learning_rate=RATE,
        schedule="constant",
        warmup=0.0,
        shuffle=False,
        precision="bfloat16" if half else "float32",
        log_every=WARMUP_STEPS + plan.steps,
    )
    loop = TrainingLoop(
        scorer=scorer,
        tokenizer=dummy_tokenizer(),
        objective=objective,
        batches=Batches.of(
            pairs.pairs,
            settings,
            objective,
            layout=scorer.layout,
            pad_id=0,
            max_length=1024,
            world=world,
        ),
        settings=settings,
        max_tokens=plan.max_tokens,
        world=world,
        callbacks=(clock,),
    )
    loop.run()
    return scorer, loop.budget.tokens


def _train_trl(plan: Plan, pairs: Pairs, clock: StepClock, *, use_liger: bool) -> None:
    is_cuda = clock.device.type == "cuda"
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    micro = min(plan.trl_pairs, pairs.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        trl_trainer(
            _model(plan, clock.device, torch.bfloat16),
            pairs.pairs,
            dummy_tokenizer(),
            folder,
            callbacks=[clock],
            peft_config=lora if plan.method == "lora" else None,
            beta=LAMBDA,
            max_length=1024,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=pairs.batch_size // micro,
            max_steps=WARMUP_STEPS + plan.steps,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            train_sampling_strategy="sequential",
            bf16=is_cuda,
            use_cpu=not is_cuda,
            use_liger_kernel=use_liger,
            logging_steps=WARMUP_STEPS + plan.steps,
        ).train()


def _report(
    name: str, plan: Plan, pairs: Pairs, clock: StepClock, products: torch.dtype, record: Record
) -> None:
    """Rates of the measured steps over the work that they need at least, and over that of `products`."""
    steps = len(clock.seconds)
    if not steps:
        record.add(name, skipped="no step after the warm-up within the time")
        return
    first = WARMUP_STEPS * pairs.batch_size
    lengths = pairs.pairs.lengths[first : first + steps * pairs.batch_size]
    total = sum(clock.seconds)
    rate = useful_flops(CONFIGS[plan.shape], lengths, frozen=plan.method == "lora") / total
    is_cuda = clock.device.type == "cuda"
    is_half = is_cuda and products == torch.bfloat16  # what data sheets tell the rate of
    peak = peak_flops(torch.cuda.get_device_name()) if is_half else None
    measured = product_rate(products, 8192 if is_cuda else 64, clock.device)
    record.add(
        name,
        steps=steps,
        seconds_per_step=total / steps,
        pairs_per_s=steps * pairs.batch_size / total,
        dedup_tokens_per_s=int(lengths.sum()) / total,
        tflops=rate / 1e12,
        mfu=rate / peak if peak else "unknown",
        of_measured_products=rate / measured,
        peak_gb=torch.cuda.max_memory_allocated() / 1e9 if is_cuda else "unknown",
        fastest_step=min(clock.seconds),
        compilations=torch._dynamo.utils.counters["stats"]["unique_graphs"],
    )


def _report_memory(
    plan: Plan,
    pairs: Pairs,
    scorer: PairScorer,
    steps: int,
    max_tokens: int,
    record: Record,
    device: torch.device,
) -> None:
    """The measured peak of `steps` steps beside the sum of what must be held."""
    if not steps:
        return
    config = CONFIGS[plan.shape]
    largest = max(
        (
            [pairs.batch(step)[i] for i in micro.indices]
            for step in range(WARMUP_STEPS, WARMUP_STEPS + steps)
            for micro in split_batch(
                pairs.pairs.lengths[step * pairs.batch_size : (step + 1) * pairs.batch_size],
                layout=Layout.SHARED,
                world_size=1,
                max_tokens=max_tokens,
            )[0]
        ),
        key=lambda chosen: sum(len(p.prompt) + len(p.chosen) + len(p.rejected) for p in chosen),
    )
    batch = collate(largest, Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)
    attention: PackedAttention | None = batch.attention
    assert attention is not None
    trained = [p for p in scorer.parameters() if p.requires_grad]
    terms = memory_terms(
        config,
        parameters=sum(p.numel() for p in unwrapped(scorer.model).parameters()),
        trained=sum(p.numel() for p in trained),
        trained_bytes=trained[0].element_size(),
        tokens=batch.input_ids.numel(),
        scored=len(batch.targets),
        key_ratio=len(attention.key_index) / batch.input_ids.numel(),
        keep_rows=KEEP_BYTES[device.type] // (4 * config.vocab_size),
        chunk_rows=CHUNK_BYTES[device.type] // (4 * config.vocab_size),
        frozen=plan.method == "lora",
    )
    analytic = sum(terms.values())
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    record.add(
        "memory of shared + fused",
        measured_gb=peak / 1e9 if peak else "unknown",
        analytic_gb=analytic / 1e9,
        measured_over_analytic=peak / analytic if peak else "unknown",
        tokens=batch.input_ids.numel(),
        **{f"{name}_gb": value / 1e9 for name, value in terms.items()},
    )
