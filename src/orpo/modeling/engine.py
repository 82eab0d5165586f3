"""The fastest way of scoring that is exact for a model, found by trying it.

A model's own code runs unchanged, so whether a packed row means to it what it should is checked, never
assumed: by its configuration, by counting the layers whose attention goes through our function, and by
comparing a small packed row with the same texts one by one.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from orpo.batch import Block, Layout, PackedAttention
from orpo.errors import ConfigError
from orpo.modeling.attention import KEYWORD, attend, attention_of
from orpo.modeling.head import FusedHead, find_head, probe_ids
from orpo.modeling.scorer import PairScorer, causal_model

log = logging.getLogger(__name__)

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
"""Layer types whose state is attention and nothing else."""

FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model's code may raise when it is given what it does not expect."""

PROBE: dict[Layout, list[Block]] = {
    # Two pairs: a prompt of 5 tokens with responses of 4 and 6, and one of 1 token with 1 and 3.
    Layout.SHARED: [Block(0, 9), Block(9, 6, 0, 5), Block(15, 2), Block(17, 3, 15, 1)],
    Layout.PACKED: [Block(0, 9), Block(9, 11), Block(20, 2), Block(22, 4)],
}


def build_scorer(
    model: PreTrainedModel | PeftModel, *, layout: Layout | Literal["auto"], max_length: int
) -> PairScorer:
    """A scorer of `model` in the best layout that is exact, or in the one that is asked for.

    Args:
        model: on the device of the run, with any adapters in place.
        layout: which layout; `auto` tries shared, packed and padded in this order, and says why one fails.
        max_length: tokens of the longest branch, for models whose positions depend on it.

    Raises:
        ConfigError: the layout that was asked for is not exact for this model.
    """
    causal = causal_model(model)
    training = model.training
    model.eval()
    try:
        chosen = _choose(causal, layout, max_length)
        head = find_head(causal)
    finally:
        model.train(training)
    if head is None:
        log.info("scores from whole logits: what %s does after its head is not known", type(causal).__name__)
    elif not isinstance(head, FusedHead):
        log.info("scores through the head's own forward pass: it is more than a linear layer")
    return PairScorer(model, layout=chosen, head=head)


def _choose(model: PreTrainedModel, wanted: Layout | Literal["auto"], max_length: int) -> Layout:
    if wanted == Layout.PADDED:
        return Layout.PADDED
    tried = (Layout.SHARED, Layout.PACKED) if wanted == "auto" else (Layout(wanted),)
    for layout in tried:
        reason = why_not_exact(model, layout, max_length)
        if reason is None:
            return layout
        if wanted != "auto":
            raise ConfigError(
                f"training.layout: {layout} is not exact for {type(model).__name__}: {reason}",
                hint="Use auto or padded.",
            )
        log.info("layout %s is not exact for %s: %s", layout, type(model).__name__, reason)
    return Layout.PADDED


@torch.no_grad()
def why_not_exact(model: PreTrainedModel, layout: Layout, max_length: int) -> str | None:
    """Why `model`, in evaluation mode, cannot be given packed rows of `layout`; None if it can.

    Args:
        model: a causal language model.
        layout: a packed layout.
        max_length: tokens of the longest branch.
    """
    config = model.config.get_text_config()
    if reason := _positions_depend_on_length(config, max_length):
        return reason
    if unknown := set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYERS:
        return f"it has layers of type {', '.join(sorted(unknown))}"

    blocks = PROBE[layout]
    length = blocks[-1].start + blocks[-1].length
    ids = probe_ids(model, length)
    attention = PackedAttention.of(blocks).to(ids.device)
    windows: dict[nn.Module, int | None] = {}
    calls = 0

    def recording(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        nonlocal calls
        calls += 1
        windows[module] = kwargs.get("sliding_window")
        return attend(module, *args, **kwargs)

    AttentionInterface.register("orpo_probe", recording)
    with attention_of(model, "orpo_probe") as taken:
        if not taken:
            return "its attention does not go through transformers' attention interface"
        inputs = {"position_ids": attention.position_ids, KEYWORD: attention}
        try:
            packed = model(input_ids=ids, use_cache=False, **inputs).logits[0]
        except FAILURES as error:
            return f"its forward pass fails on them: {str(error).splitlines()[0]}"
    layers = config.num_hidden_layers
    if calls != layers or len(windows) != layers:
        return f"only {len(windows)} of its {layers} layers attend through transformers' attention interface"
    if reason := _windows_differ(config, list(windows.values())):
        return reason
    return _compare(model, ids, blocks, packed)


def _positions_depend_on_length(config: Any, max_length: int) -> str | None:
    """Positions whose meaning changes with the longest text of a batch are exact only below that change."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for entry in (parameters, *(v for v in parameters.values() if isinstance(v, dict))):
        kind = entry.get("rope_type", entry.get("type"))
        if kind not in ("dynamic", "longrope"):
            continue
        limit = (
            entry.get("original_max_position_embeddings")
            or getattr(config, "original_max_position_embeddings", None)
            or config.max_position_embeddings
        )
        if max_length > limit:
            return f"its {kind} positions depend on the longest text of a batch above {limit} tokens"
    return None


def _windows_differ(config: Any, windows: list[int | None]) -> str | None:
    """Sliding windows that the configuration has and the layers do not pass on would be lost."""
    types = getattr(config, "layer_types", None)
    expected = getattr(config, "sliding_window", None)
    for i, window in enumerate(windows):
        slides = types[i] == "sliding_attention" if types else window is not None
        if slides and window != expected:
            return f"layer {i} should see {expected} tokens, and asks for {window}"
        if types and not slides and window is not None:
            return f"layer {i} should see all tokens, and asks for {window}"
    return None


def _compare(model: PreTrainedModel, ids: Tensor, blocks: list[Block], packed: Tensor) -> str | None:
    """Compare a packed row's logits with those of its texts, and the difference with that of a lost prompt.

    Losing the prompt of a rejected response is what a wrong reading of packed rows amounts to, so an error is
    measured against it: rounding is far below, in any type and at any depth.
    """
    error = noise = 0.0
    for block in blocks:
        own = slice(block.start, block.start + block.length)
        prefix = slice(block.prefix_start, block.prefix_start + block.prefix_length)
        text = torch.cat((ids[0, prefix], ids[0, own]))[None]
        alone = model(input_ids=text, use_cache=False).logits[0, block.prefix_length :].float()
        error = max(error, _distance(packed[own].float(), alone))
        if block.length > 3:
            cut = model(input_ids=text[:, 3:], use_cache=False).logits[0].float()
            noise = max(noise, _distance(cut[-2:], alone[-2:]))
    coarse = torch.finfo(packed.dtype).eps > 1e-4
    if error <= (0.2 if coarse else 1e-3) * noise:
        return None
    return (
        f"a test row differs from its texts run one by one, by {error:.1e} of the logits; losing three "
        f"tokens of a prompt makes {noise:.1e}"
    )


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / (expected - expected.mean(-1, keepdim=True)).norm()).item()
