"""The fastest way of scoring that is exact for a model, found by trying it.

A model's own code runs unchanged, so whether a packed row means to it what it should is checked, never
assumed: by its configuration, by what each layer asks of our attention function, by gradients, which are
exactly 0 between tokens that do not see each other, and by comparing a small packed row with the same texts
one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from orpo.batch import Block, Layout, PackedAttention
from orpo.errors import ConfigError
from orpo.modeling.attention import KEYWORD, attend, attention_of
from orpo.modeling.head import FusedHead, find_head, probe_ids
from orpo.modeling.kinds import LANGUAGE_MODEL, ModelKind, Outputs
from orpo.modeling.probing import FAILURES, by_embeddings
from orpo.modeling.reward import RewardScorer, value_head
from orpo.modeling.routing import find_router_loss
from orpo.modeling.scorer import PairScorer, evaluating, unwrapped
from orpo.ops.head import product_dtype
from orpo.ops.precision import autocast

log = logging.getLogger(__name__)

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
"""Layer types whose state is attention and nothing else."""

UNDERSTOOD = {
    *("dropout", "s_aux", "scaling", "sliding_window", "softcap", KEYWORD),
    # Without influence on the result.
    *("cache_position", "output_attentions", "output_hidden_states", "output_router_logits"),
    *("position_ids", "return_dict", "use_cache"),
}
"""Keywords that a layer may pass to its attention function."""

PROBE: dict[Layout, list[Block]] = {
    # Two pairs: a prompt of 5 tokens with responses of 4 and 6, and one of 1 token with 1 and 3.
    Layout.SHARED: [Block(0, 9), Block(9, 6, 0, 5), Block(15, 2), Block(17, 3, 15, 1)],
    Layout.PACKED: [Block(0, 9), Block(9, 11), Block(20, 2), Block(22, 4)],
}

PROBE_WINDOW = 3
"""Sliding window during the probe; wider ones would never end within its texts."""

LOST = 3
"""Tokens that a text loses to show how much its beginning matters."""


def build_scorer(
    model: PreTrainedModel | PeftModel,
    *,
    layout: Layout | Literal["auto"],
    max_length: int,
    kind: ModelKind = LANGUAGE_MODEL,
    router_loss: float | Literal["auto"] = 0.0,
    products: torch.dtype | None = None,
) -> PairScorer:
    """A scorer of `model` in the best layout that is exact, or in the one that is asked for.

    Args:
        model: on the device of the run, with any adapters in place.  Weights that will be shared out over
            processes may be on the host; then the device's attention is not part of what is tried.
        layout: which layout; `auto` tries shared, packed and padded in this order, and says why one fails.
        max_length: tokens of the longest branch, for models whose positions depend on it.
        kind: what the model is; the scores of a reward model are values.
        router_loss: coefficient of the loss that a mixture of experts adds, see `find_router_loss`.
        products: what training autocasts to, or None: layouts are tried with it too, since another type may
            have another backend of attention.

    Raises:
        ConfigError: the layout that was asked for is not exact for this model, a reward model has no value
            head, or a router loss was asked for that is not to be had.
    """
    base = unwrapped(model)
    if kind.is_reward:
        value_head(base)
    with evaluating(model):
        chosen = _choose(base, layout, max_length, kind.outputs, products)
        router = find_router_loss(base, router_loss)
        if kind.is_reward:
            return RewardScorer(model, layout=chosen)
        head = find_head(base)
    if head is None:
        log.info("scores from whole logits: what %s does after its head is not known", type(base).__name__)
    elif not isinstance(head, FusedHead):
        log.info("scores through the head's own forward pass: it is more than a linear layer")
    return PairScorer(model, layout=chosen, head=head, router_loss=router)


def _choose(
    model: PreTrainedModel,
    wanted: Layout | Literal["auto"],
    max_length: int,
    outputs: Outputs,
    products: torch.dtype | None,
) -> Layout:
    if wanted == Layout.PADDED:
        return Layout.PADDED
    tried = (Layout.SHARED, Layout.PACKED) if wanted == "auto" else (Layout(wanted),)
    said = ""
    for layout in tried:
        reason = why_not_exact(model, layout, max_length, outputs)
        if reason is None and products is not None:
            with autocast(model.device, products):
                reason = why_not_exact(model, layout, max_length, outputs)
        if reason is None:
            return layout
        if wanted != "auto":
            raise ConfigError(
                f"training.layout: {layout} is not exact for {type(model).__name__}: {reason}",
                hint="Use auto or padded.",
            )
        if reason != said:
            log.info("layout %s is not exact for %s: %s", layout, type(model).__name__, reason)
        said = reason
    return Layout.PADDED


def why_not_exact(
    model: PreTrainedModel, layout: Layout, max_length: int, outputs: Outputs = LANGUAGE_MODEL.outputs
) -> str | None:
    """Why `model`, in evaluation mode, cannot be given packed rows of `layout`; None if it can.

    Args:
        model: a model that reads left to right.
        layout: a packed layout.
        max_length: tokens of the longest branch.
        outputs: what it makes of each token.
    """
    config = model.config.get_text_config()
    if reason := _positions_depend_on_length(config, max_length):
        return reason
    if unknown := set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYERS:
        return f"it has layers of type {', '.join(sorted(unknown))}"

    blocks = PROBE[layout]
    ids = probe_ids(model, blocks[-1].start + blocks[-1].length)
    probe = _Probe()
    AttentionInterface.register("orpo_probe", probe)
    with _narrow_windows(model):
        with attention_of(model, "orpo_probe") as taken:
            if not taken:
                return "its attention does not go through transformers' attention interface"
            try:
                packed, embedded = _run(model, ids, PackedAttention.of(blocks).to(ids.device), outputs)
                asked = probe.take()
                texts = [_text(ids, block) for block in blocks]
                alone = [_alone(model, text, probe, outputs) for text in texts]
                leak = _leak(packed, embedded, blocks)
            except torch.OutOfMemoryError:
                raise
            except FAILURES as error:
                return f"its forward pass fails on them: {(str(error) or repr(error)).splitlines()[0]}"
        return (
            _calls_differ(config, asked)
            or leak
            or _inputs_differ(asked, alone, blocks)
            or _outputs_differ(model, texts, blocks, packed.detach(), outputs)
        )


@dataclass(frozen=True)
class _Call:
    """What a layer has asked our attention function for."""

    module: nn.Module
    tensors: tuple[Tensor, Tensor, Tensor]
    """Query, key and value, (1, heads, T, size)."""

    window: int | None
    unknown: frozenset[str]
    """What it has passed that our function does not take into account."""


class _Probe:
    """Our attention function, with a note of every call."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        unknown = {name for name, given in kwargs.items() if given is not None} - UNDERSTOOD
        if attention_mask is not None:
            unknown.add("attention_mask")
        tensors = (query.detach(), key.detach(), value.detach())
        self._calls.append(_Call(module, tensors, kwargs.get("sliding_window"), frozenset(unknown)))
        return attend(module, query, key, value, attention_mask, **kwargs)

    def take(self) -> list[_Call]:
        """The calls so far, which are forgotten."""
        calls, self._calls = self._calls, []
        return calls


@contextmanager
def _narrow_windows(model: PreTrainedModel) -> Iterator[None]:
    """Make sliding windows narrower than the probe, so that it shows what becomes of them."""
    owners: dict[int, Any] = {
        id(owner): owner for module in model.modules() for owner in (module, getattr(module, "config", None))
    }
    wide = [
        (owner, window)
        for owner in owners.values()
        if isinstance(window := getattr(owner, "sliding_window", None), int) and window > PROBE_WINDOW
    ]
    for owner, _ in wide:
        owner.sliding_window = PROBE_WINDOW
    try:
        yield
    finally:
        for owner, window in wide:
            owner.sliding_window = window


def _run(
    model: PreTrainedModel, ids: Tensor, attention: PackedAttention, outputs: Outputs
) -> tuple[Tensor, Tensor]:
    """(T, ...) outputs of a packed row with gradient, and the (1, T, D) embeddings to take it by."""
    inputs = {"position_ids": attention.position_ids, KEYWORD: attention}
    packed, embedded = by_embeddings(model, lambda: outputs(model, input_ids=ids, **inputs))
    return packed[0], embedded


def _text(ids: Tensor, block: Block) -> Tensor:
    """(1, key length) what the last query of a block sees, as a text of its own."""
    return ids[:, PackedAttention.of([block]).key_index]


@torch.no_grad()
def _alone(model: PreTrainedModel, text: Tensor, probe: _Probe, outputs: Outputs) -> list[_Call]:
    """What layers ask for on a text with the positions that the model gives it by itself."""
    attention = PackedAttention.of([Block(0, text.shape[1])]).to(text.device)
    outputs(model, input_ids=text, **{KEYWORD: attention})
    return probe.take()


def _calls_differ(config: Any, calls: list[_Call]) -> str | None:
    """Every layer must attend once, through us, and for nothing that we would not do."""
    layers = getattr(config, "num_hidden_layers", None)
    attending = len({call.module for call in calls})
    if attending != layers or len(calls) != layers:
        return (
            f"its {layers} layers make {len(calls)} calls from {attending} modules to transformers' "
            "attention interface"
        )
    if unknown := frozenset[str]().union(*(call.unknown for call in calls)):
        return f"its attention depends on {', '.join(sorted(unknown))}"
    types = getattr(config, "layer_types", None)
    expected = getattr(config, "sliding_window", None)
    for i, window in enumerate(call.window for call in calls):
        slides = types[i] == "sliding_attention" if types else window is not None
        if slides and window != expected:
            return f"layer {i} should see {expected} tokens, and asks for {window}"
        if types and not slides and window is not None:
            return f"layer {i} should see all tokens, and asks for {window}"
    return None


def _leak(packed: Tensor, embedded: Tensor, blocks: list[Block]) -> str | None:
    """A token that a block must not see has a gradient of exactly 0, however small its influence."""
    for i, block in enumerate(blocks):
        own = packed[block.start : block.start + block.length].float()
        # Not their norm: that of what a last norm makes depends on nothing.
        weights = torch.arange(own.numel(), device=own.device, dtype=own.dtype).sin().view_as(own)
        (gradient,) = torch.autograd.grad((own * weights).sum(), embedded, retain_graph=True)
        reached = gradient[0].ne(0).any(-1)
        reached[PackedAttention.of([block]).key_index] = False
        if reached.any():
            return f"something beside attention mixes tokens: block {i} of a test row depends on another text"
    return None


def _inputs_differ(packed: list[_Call], alone: list[list[_Call]], blocks: list[Block]) -> str | None:
    """Positions show in the queries and keys of a layer long before they show in logits."""
    for block, calls in zip(blocks, alone, strict=True):
        own = slice(block.start, block.start + block.length)
        for layer, (ours, expected) in enumerate(zip(packed, calls, strict=True)):
            for found, wanted in zip(ours.tensors, expected.tensors, strict=True):
                wanted = wanted[:, :, block.prefix_length :].float()
                error = (found[:, :, own].float() - wanted).norm() / wanted.norm()
                if error > (0.1 if _is_coarse(found) else 1e-3):
                    return (
                        f"queries, keys or values of layer {layer} differ by {error.item():.1e} from those "
                        "of a text run alone: it does not take positions as they are given"
                    )
    return None


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
            return (
                f"its {kind} positions depend on the longest text of a batch above {limit} tokens, so its "
                "scores, and with them the update, depend on the split"
            )
    return None


@torch.no_grad()
def _outputs_differ(
    model: PreTrainedModel, texts: list[Tensor], blocks: list[Block], packed: Tensor, outputs: Outputs
) -> str | None:
    """Compare a packed row's outputs with those of its texts, and the difference with that of a lost prompt.

    Losing the prompt of a rejected response is what a wrong reading of packed rows amounts to, so an error is
    measured against it: rounding is far below, in any type and at any depth.
    """
    error = noise = 0.0
    for text, block in zip(texts, blocks, strict=True):
        alone = outputs(model, input_ids=text)[0].float()
        own = packed[block.start : block.start + block.length].float()
        error = max(error, _distance(own, alone[block.prefix_length :]))
        if text.shape[1] > LOST:
            cut = outputs(model, input_ids=text[:, LOST:])[0].float()
            noise = max(noise, _distance(cut, alone[LOST:]))
    if error <= (0.2 if _is_coarse(packed) else 1e-3) * noise:
        return None
    return (
        f"a test row differs from its texts run one by one, by {error:.1e} of the outputs; losing {LOST} "
        f"tokens of a prompt makes {noise:.1e}"
    )


def _is_coarse(made: Tensor) -> bool:
    """Whether the products that a tensor comes of are of half precision."""
    return torch.finfo(product_dtype(made)).eps > 1e-4


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / (expected - expected.mean(-1, keepdim=True)).norm()).item()
