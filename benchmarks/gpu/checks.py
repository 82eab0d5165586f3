"""What cannot be known without a GPU: kernels against float64, their rates, and what a step must not do."""

from __future__ import annotations

import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from counting import peak_flops
from results import Record
from timing import milliseconds, product_rate
from torch import Tensor
from transformers import TrainerCallback
from workload import dummy_tokenizer, new_model, read_pairs

from orpo.batch import Layout, PackedAttention, PromptTokens
from orpo.config.schema import TrainingSection
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair
from orpo.modeling.engine import build_scorer
from orpo.modeling.scorer import PairScorer
from orpo.objectives import ORPO
from orpo.ops.attention.backends import ATTENTION, Backend
from orpo.ops.attention.blocks import block_attention
from orpo.ops.attention.varlen import flash_attn_kernel
from orpo.ops.distributed import World
from orpo.ops.epilogue import LogitTransform, log_probs, slopes_
from orpo.ops.head import target_log_probs
from orpo.training.batches import Batches
from orpo.training.loop import TrainingLoop

PACKAGES = (
    *("torch", "triton", "transformers", "peft", "accelerate", "numpy", "pydantic"),
    *("flash-attn", "flash-attn-3", "trl", "liger-kernel", "datasets"),
)


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the error over the norm of what was expected; NaN stays NaN."""
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def check_machine(record: Record, device: torch.device, smoke: bool) -> None:
    """Versions, and the two ceilings: the rate of matrix products and that of memory."""
    record.add("versions", python=platform.python_version(), **{name: _version(name) for name in PACKAGES})
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name() if is_cuda else platform.processor() or "CPU"
    record.add("device", name=name, cuda=str(torch.version.cuda))
    size = 64 if smoke else 8192
    for dtype in (torch.bfloat16, torch.float32):
        rate = product_rate(dtype, size, device)
        peak = peak_flops(name) if dtype == torch.bfloat16 else None
        record.add(
            f"matrix product, {size}, {dtype}",
            tflops=rate / 1e12,
            of_data_sheet=rate / peak if peak else "unknown",
        )
    x = torch.randn(2**10 if smoke else 2**29, device=device)
    y = torch.empty_like(x)
    record.add("copy", gb_per_s=8 * x.numel() / milliseconds(lambda: y.copy_(x), device, 5) / 1e6)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


# Attention


def _layout(pairs: Sequence[TokenizedPair], layout: Layout, device: torch.device) -> PackedAttention:
    attention = collate(pairs, layout, pad_id=0, prompt_tokens=PromptTokens.NONE).attention
    assert attention is not None
    return attention.to(device)


def _tensors(layout: PackedAttention, heads: tuple[int, int], size: int, dtype: torch.dtype) -> list[Tensor]:
    """Random query, key and value, and a gradient of the output."""
    torch.manual_seed(0)
    length, device = layout.position_ids.shape[1], layout.position_ids.device
    counts = (heads[0], heads[1], heads[1], heads[0])
    *inputs, slopes = (torch.randn(1, n, length, size, device=device).to(dtype) for n in counts)
    return [*(x.requires_grad_() for x in inputs), slopes]


def _attend_and_differentiate(
    attend: Callable[..., Tensor], tensors: Sequence[Tensor], layout: PackedAttention, **options: Any
) -> list[Tensor]:
    """Output and gradients of query, key and value, and of the sinks if there are any."""
    *inputs, slopes = tensors
    leaves = list(inputs)
    if "sinks" in options:
        options = options | {"sinks": options["sinks"].to(slopes.dtype).requires_grad_()}
        leaves.append(options["sinks"])
    output = attend(*inputs, layout, **options)
    return [output, *torch.autograd.grad(output, leaves, slopes)]


def check_attention(record: Record, device: torch.device, smoke: bool) -> None:
    """Every backend against float64, forward and backward; its time on a row of real lengths; the gather."""
    backends = [Backend.BLOCKS]
    if device.type == "cuda":
        backends.append(Backend.VARLEN)
        if flash_attn_kernel() is not None:
            backends.append(Backend.FLASH_ATTN)
    else:
        record.add("varlen", skipped="needs CUDA")
    heads, size = ((4, 2), 16) if smoke else ((32, 8), 128)
    pairs = read_pairs("medium", steps=1, batch_size=4 if smoke else 32, longest=20 if smoke else None)
    layouts = {name: _layout(pairs.batch(0), Layout(name), device) for name in ("shared", "packed")}
    cases: dict[str, dict[str, Any]] = {"plain": {}, "window 64": {"window": 64}, "scale": {"scale": 0.05}}
    _attention_errors(record, backends, pairs.batch(0)[:8], heads, size, device, cases)
    for backend in backends:
        for name, layout in layouts.items():
            tensors = _tensors(layout, heads, size, torch.bfloat16)
            attend = ATTENTION[backend]
            record.add(
                f"{backend}, {name}",
                tokens=layout.position_ids.shape[1],
                keys=len(layout.key_index),
                forward_ms=milliseconds(
                    lambda a=attend, t=tensors, x=layout: a(*t[:3], x, scale=size**-0.5), device
                ),
                forward_backward_ms=milliseconds(
                    lambda a=attend, t=tensors, x=layout: _attend_and_differentiate(
                        a, t, x, scale=size**-0.5
                    ),
                    device,
                ),
            )
    _gather_time(record, layouts["shared"], heads[1], size, device)
    _flash_3(record, layouts["shared"], heads, size, device)


def _attention_errors(
    record: Record,
    backends: Sequence[Backend],
    pairs: Sequence[TokenizedPair],
    heads: tuple[int, int],
    size: int,
    device: torch.device,
    cases: dict[str, dict[str, Any]],
) -> None:
    """Relative errors against blocks in float64, of which each is a dense attention by its definition."""
    for layout_name in ("shared", "packed"):
        layout = _layout(pairs, Layout(layout_name), device)
        tensors = _tensors(layout, heads, size, torch.bfloat16)
        exact = [x.detach().double().requires_grad_(x.requires_grad) for x in tensors]
        for case, options in cases.items():
            keywords = {"scale": size**-0.5} | options
            expected = _attend_and_differentiate(block_attention, exact, layout, **keywords)
            for backend in backends:
                name = f"error of {backend}, {layout_name}, {case}"
                try:
                    found = _attend_and_differentiate(ATTENTION[backend], tensors, layout, **keywords)
                except RuntimeError as error:
                    record.add(name, failed=str(error).splitlines()[0])
                    continue
                errors = map(relative, found, expected)
                record.add(
                    name, **dict(zip(("output", "query", "key", "value", "sinks"), errors, strict=False))
                )


def _gather_time(
    record: Record, layout: PackedAttention, key_heads: int, size: int, device: torch.device
) -> None:
    """What reading the prompt's keys and values a second time costs, forward and backward."""
    shape = (layout.position_ids.shape[1], key_heads, size)
    rows = torch.randn(shape, device=device, dtype=torch.bfloat16).requires_grad_()
    slopes = torch.randn((len(layout.key_index), *shape[1:]), device=device, dtype=torch.bfloat16)

    def work() -> None:
        for _ in ("key", "value"):
            torch.autograd.grad(rows.index_select(0, layout.key_index), rows, slopes)

    record.add("gather of keys and values", forward_backward_ms=milliseconds(work, device))


def _flash_3(
    record: Record, layout: PackedAttention, heads: tuple[int, int], size: int, device: torch.device
) -> None:
    """FlashAttention 3 behind torch's function, where it is installed; last, since it stays active."""
    if device.type != "cuda":
        record.add("FlashAttention 3", skipped="needs CUDA")
        return
    try:
        torch.nn.attention.activate_flash_attention_impl("FA3")
    except (ImportError, RuntimeError, ValueError, KeyError) as error:
        record.add("FlashAttention 3", skipped=str(error).splitlines()[0])
        return
    tensors = _tensors(layout, heads, size, torch.bfloat16)
    attend = ATTENTION[Backend.VARLEN]
    record.add(
        "FlashAttention 3",
        forward_backward_ms=milliseconds(
            lambda: _attend_and_differentiate(attend, tensors, layout, scale=size**-0.5), device
        ),
    )


def check_flex(record: Record, device: torch.device, smoke: bool) -> None:
    """FlexAttention with softcap, sinks, windows, float32 and wide heads; compilations over many lengths."""
    if device.type != "cuda":
        record.add("flex", skipped="needs CUDA")
        return
    flex = [Backend.FLEX]
    batches = read_pairs("medium", steps=6, batch_size=8)
    sinks = torch.randn(32, device=device).bfloat16()  # as exact in the reference
    cases: dict[str, dict[str, Any]] = {
        "softcap": {"softcap": 30.0},
        "softcap and window": {"softcap": 30.0, "window": 64},
        "sinks": {"sinks": sinks},
    }
    _attention_errors(record, flex, batches.batch(0), (32, 8), 128, device, cases)
    counters = torch._dynamo.utils.counters["stats"]
    for step in range(6):
        pairs = batches.batch(step)
        layout = _layout(pairs, Layout.SHARED, device)
        tensors = _tensors(layout, (32, 8), 128, torch.bfloat16)
        started = time.perf_counter()
        _attend_and_differentiate(ATTENTION[Backend.FLEX], tensors, layout, scale=128**-0.5, softcap=30.0)
        torch.cuda.synchronize()
        record.add(
            f"batch {step} of another length",
            tokens=layout.position_ids.shape[1],
            compilations_so_far=counters["unique_graphs"],
            first_call_ms=1e3 * (time.perf_counter() - started),
        )
    layout = _layout(read_pairs("medium", steps=1, batch_size=32).batch(0), Layout.SHARED, device)
    for dtype, size, options in (
        (torch.bfloat16, 128, {"softcap": 30.0}),
        (torch.bfloat16, 256, {"softcap": 50.0}),
        (torch.float32, 128, {}),
        (torch.bfloat16, 512, {}),
    ):
        tensors = _tensors(layout, (8, 4), size, dtype)
        try:
            taken = milliseconds(
                lambda t=tensors, s=size, o=options: _attend_and_differentiate(
                    ATTENTION[Backend.FLEX], t, layout, scale=s**-0.5, **o
                ),
                device,
            )
        except RuntimeError as error:
            record.add(f"flex, {dtype}, heads of {size}", failed=str(error).splitlines()[0])
        else:
            record.add(f"flex, {dtype}, heads of {size}", forward_backward_ms=taken)


# Head


def check_head(record: Record, device: torch.device, smoke: bool) -> None:
    """The Triton epilogue, products that keep float32, and the head's gradients and rates."""
    vocab_size, hidden, rows = (300, 16, 24) if smoke else (128_256, 4096, 4096)
    _epilogue(record, device, vocab_size, rows)
    _wide_products(record, device, vocab_size, hidden, min(rows, 1024))
    _head_errors(record, device, vocab_size // 4, hidden // 4, min(rows, 2048))
    for name, keep, frozen in (("kept", rows, False), ("recomputed", 0, False), ("frozen", 0, True)):
        states = torch.randn(rows, hidden, device=device).to(torch.bfloat16).requires_grad_()
        weight = (0.02 * torch.randn(vocab_size, hidden, device=device)).to(torch.bfloat16)
        weight.requires_grad_(not frozen)
        targets = torch.randint(0, vocab_size, (rows,), device=device)
        inputs = [states] if frozen else [states, weight]

        def work(
            states: Tensor = states,
            weight: Tensor = weight,
            targets: Tensor = targets,
            keep: int = keep,
            inputs: Sequence[Tensor] = inputs,
        ) -> None:
            torch.autograd.grad(_scores(states, weight, targets, keep, max(1, rows // 2)).sum(), inputs)

        taken = milliseconds(work, device, 5)
        units = {"kept": 3, "recomputed": 4, "frozen": 2}[name]
        record.add(
            f"head, {name}",
            rows=rows,
            milliseconds=taken,
            products=units,
            tflops=units * 2 * rows * hidden * vocab_size / taken / 1e9,
        )


def _scores(states: Tensor, weight: Tensor, targets: Tensor, keep: int, chunk: int) -> Tensor:
    return target_log_probs(
        states, weight, None, targets, transform=LogitTransform(), chunk_size=chunk, keep_rows=keep
    )


def _epilogue(record: Record, device: torch.device, vocab_size: int, rows: int) -> None:
    """Error and rate of the Triton kernels beside those of the plain functions, on aligned and odd sizes."""
    if device.type != "cuda":
        record.add("Triton epilogue", skipped="needs CUDA")
        return
    from orpo.ops import triton_epilogue

    for vocab in (vocab_size, 151_665):
        for dtype in (torch.float32, torch.bfloat16):
            for transform in (LogitTransform(), LogitTransform(1.0, 30.0)):
                outputs = (3 * torch.randn(rows, vocab, device=device)).to(dtype)
                targets = torch.randint(0, vocab, (rows,), device=device)
                few = slice(0, 64)
                expected = outputs[few].double()
                exact = slopes_(expected, targets[few], transform)
                scores, normalisers = triton_epilogue.log_normalise(outputs, targets, transform)
                slopes = triton_epilogue.slope_(
                    outputs[few].clone(), normalisers[few], targets[few], transform
                )
                bytes_read = outputs.numel() * outputs.element_size()
                reading = milliseconds(
                    lambda o=outputs, t=targets, f=transform: triton_epilogue.log_normalise(o, t, f), device
                )
                writing = milliseconds(
                    lambda o=outputs, n=normalisers, t=targets, f=transform: triton_epilogue.slope_(
                        o, n, t, f
                    ),
                    device,
                )
                record.add(
                    f"Triton epilogue, {vocab}, {dtype}, cap {transform.softcap}",
                    error_log_probs=(scores[few] - exact).abs().max().item(),
                    error_slopes=relative(slopes, expected),
                    log_normalise_gb_per_s=bytes_read / reading / 1e6,
                    slope_gb_per_s=2 * bytes_read / writing / 1e6,
                )
    outputs = torch.randn(rows, vocab_size, device=device)
    targets = torch.randint(0, vocab_size, (rows,), device=device)
    transform = LogitTransform()
    record.add(
        "epilogue as epilogue.py dispatches it, float32",
        log_probs_ms=milliseconds(lambda: log_probs(outputs, targets, transform), device),
        slopes_ms=milliseconds(lambda: slopes_(outputs, targets, transform), device),
    )


def _wide_products(record: Record, device: torch.device, vocab_size: int, hidden: int, rows: int) -> None:
    """bf16 operands with a float32 result beside those with a bf16 one."""
    if device.type != "cuda":
        record.add("products with a float32 result", skipped="needs CUDA")
        return
    states = torch.randn(rows, hidden, device=device, dtype=torch.bfloat16)
    weight = torch.randn(vocab_size, hidden, device=device, dtype=torch.bfloat16)
    exact = states[:64].double() @ weight.double().T
    for name, product in {
        "bf16 result": lambda: states @ weight.T,
        "float32 result": lambda: torch.mm(states, weight.T, out_dtype=torch.float32),
    }.items():
        taken = milliseconds(product, device)
        record.add(
            f"product, {name}",
            error=relative(product()[:64], exact),
            tflops=2 * rows * hidden * vocab_size / taken / 1e9,
        )


def _head_errors(record: Record, device: torch.device, vocab_size: int, hidden: int, rows: int) -> None:
    """Gradients of bf16 states and weight against float64: by chunks, kept, and summed in bf16."""
    torch.manual_seed(0)
    states = torch.randn(rows, hidden, device=device).to(torch.bfloat16)
    weight = (0.02 * torch.randn(vocab_size, hidden, device=device)).to(torch.bfloat16)
    targets = torch.randint(0, vocab_size, (rows,), device=device)
    slopes = torch.rand(rows, device=device) / rows
    chunk = max(1, rows // 8)

    def gradients(dtype: torch.dtype, keep: int) -> tuple[Tensor, ...]:
        x, w = (tensor.to(dtype).requires_grad_() for tensor in (states, weight))
        return torch.autograd.grad((_scores(x, w, targets, keep, chunk) * slopes).sum(), (x, w))

    exact = gradients(torch.float64, rows)
    for name, keep in (("kept", rows), ("recomputed", 0)):
        found = gradients(torch.bfloat16, keep)
        record.add(
            f"error of the head's gradients, {name}",
            states=relative(found[0], exact[0]),
            weight=relative(found[1], exact[1]),
        )
    summed = torch.zeros_like(weight)
    for start in range(0, rows, chunk):
        part = slice(start, start + chunk)
        w = weight.clone().requires_grad_()
        scores = _scores(states[part], w, targets[part], 0, chunk)
        summed += torch.autograd.grad((scores * slopes[part]).sum(), w)[0]
    record.add(
        "error of the weight's gradient, summed over chunks in bf16", weight=relative(summed, exact[1])
    )


# Step


def check_step(record: Record, device: torch.device, smoke: bool) -> None:
    """The engine in bf16 within the plain path's own error; what a step waits for and compiles."""
    _step_errors(record, device, smoke)
    _syncs(record, device, smoke)


def _step_errors(record: Record, device: torch.device, smoke: bool) -> None:
    """Loss and gradient of both paths against the plain path in float64, float32 weights under autocast."""
    shape = "smoke" if smoke else "medium"
    pairs = read_pairs(shape, steps=1, batch_size=4 if smoke else 16, longest=20 if smoke else None).batch(0)
    totals = batch_totals(pairs, PromptTokens.NONE)

    def run(layout: Layout, fused: bool, dtype: torch.dtype) -> tuple[float, Tensor]:
        weights = torch.float64 if dtype == torch.float64 else torch.float32
        model: Any = new_model(shape, device, torch.float32)
        model.to(weights)
        if fused:
            scorer = build_scorer(model, layout=layout, max_length=1024)
        else:
            scorer = PairScorer(model, layout=layout, head=None)
        batch = collate(pairs, layout, pad_id=0, prompt_tokens=PromptTokens.NONE).to(device)
        half = dtype == torch.bfloat16
        with scorer.attention():
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                scores = scorer(batch)
            loss = ORPO(0.1, "paper")(scores, totals).loss
            loss.backward()
        gradient = torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
        return loss.item(), gradient

    exact_loss, exact = run(Layout.PADDED, False, torch.float64)
    for dtype in (torch.float32, torch.bfloat16):
        for name, layout, fused in (("plain", Layout.PADDED, False), ("engine", Layout.SHARED, True)):
            loss, gradient = run(layout, fused, dtype)
            record.add(
                f"step, {name}, {dtype}",
                loss_error=abs(loss - exact_loss),
                gradient_error=relative(gradient, exact),
            )


class _SyncCounter(TrainerCallback):
    """Counts what waits for the device from the end of the warm-up to the last step's beginning."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self.graphs_before = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._first:
            self.graphs_before = _compiled_graphs()
            torch.cuda.set_sync_debug_mode("warn")
        if state.global_step == self._last:
            torch.cuda.set_sync_debug_mode("default")


def _compiled_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _syncs(record: Record, device: torch.device, smoke: bool) -> None:
    """Steps of the training loop that log nothing, with CUDA's own alarm for synchronisation."""
    if device.type != "cuda":
        record.add("host syncs", skipped="needs CUDA")
        return
    first, last = 2, 6
    pairs = read_pairs("medium", steps=last + 1, batch_size=16)
    counter = _SyncCounter(first, last)
    model: Any = new_model("medium", device, torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scorer, objective = build_scorer(model, layout="auto", max_length=1024), ORPO(0.1, "paper")
        world = World(0, 1, device)
        settings = TrainingSection(
            batch_size=16, max_steps=last + 1, shuffle=False, precision="bfloat16", log_every=100
        )
        TrainingLoop(
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
            max_tokens=4096,
            world=world,
            callbacks=(counter,),
        ).run()
    places = Counter(
        f"{Path(w.filename).name}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message)
    )
    record.add(
        "host syncs",
        steps=last - first,
        per_step=sum(places.values()) / (last - first),
        places=", ".join(f"{place} x{count}" for place, count in places.most_common(5)) or "none",
        compilations=_compiled_graphs() - counter.graphs_before,
    )
