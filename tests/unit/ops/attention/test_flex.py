"""FlexAttention's mask, tiles and sinks are exact: the function as torch runs it on a CPU, forward only.

For gradients, a dense reference that reads the same mask stands in for the kernel.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.attention.flex_attention as torch_flex
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import AuxOutput, BlockMask

from orpo.batch import PackedAttention
from orpo.ops.attention import flex
from orpo.ops.attention.blocks import block_attention
from orpo.ops.attention.flex import TILE, flex_attention
from tests.unit.ops.attention.rows import SHARED_ROW, random_row, shared_layout, unshared_layout

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")

SINKS = torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"window": 5},
    {"softcap": 2.0},
    {"sinks": SINKS},
    {"window": 20, "softcap": 2.0, "sinks": SINKS},
]
LAYOUTS = {"shared": shared_layout(), "unshared": unshared_layout()}


def dense(mask: BlockMask) -> Tensor:
    """(T, T) bool, what `mask_mod` lets each query see."""
    length = mask.seq_lengths[0]
    at = torch.arange(length)
    none = torch.zeros((), dtype=torch.int64)
    return mask.mask_mod(none, none, at[:, None].expand(-1, length), at[None].expand(length, -1))


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score_mod: Any,
    block_mask: BlockMask,
    scale: float,
    enable_gqa: bool,
    return_aux: Any,
) -> tuple[Tensor, AuxOutput]:
    """FlexAttention written out, for gradients."""
    assert enable_gqa
    assert query.shape[2] % TILE == 0
    key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    scores = query @ key.mT * scale
    if score_mod is not None:
        scores = score_mod(scores, None, None, None, None)
    scores = scores.masked_fill(~dense(block_mask), -torch.inf)
    return scores.softmax(-1) @ value, AuxOutput(lse=scores.logsumexp(-1), max_scores=None)


@pytest.fixture
def kernel_with_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "_kernel", lambda device: reference)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_output_equals_that_of_blocks(layout: PackedAttention, options: dict[str, Any]) -> None:
    row = random_row(layout)
    tensors = row.to(torch.float32)
    found = flex_attention(*tensors, row.layout, scale=0.3, **options)
    expected = block_attention(*tensors, row.layout, scale=0.3, **options)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.usefixtures("kernel_with_gradient")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_gradients_equal_those_of_blocks_sinks_included(options: dict[str, Any]) -> None:
    row = random_row(LAYOUTS["shared"])
    inputs = [row.query, row.key, row.value]
    if "sinks" in options:
        options = options | {"sinks": SINKS.clone().requires_grad_()}
        inputs.append(options["sinks"])
    results: list[tuple[Tensor, ...]] = []
    for attend in (block_attention, flex_attention):
        output = attend(row.query, row.key, row.value, row.layout, scale=0.3, **options)
        torch.manual_seed(1)
        slopes = torch.randn(output.shape, dtype=output.dtype)
        results.append((output, *torch.autograd.grad((output * slopes).sum(), inputs)))
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def marked(numbers: Tensor, columns: Tensor) -> Tensor:
    """(tiles, tiles) bool from a mask's lists."""
    tiles = columns.shape[-1]
    result = torch.zeros(tiles, tiles, dtype=torch.bool)
    for i, number in enumerate(numbers[0, 0].tolist()):
        chosen = columns[0, 0, i, :number].tolist()
        assert len(set(chosen)) == number
        result[i, chosen] = True
    return result


lengths = st.integers(1, 200)
pairs = st.lists(st.tuples(lengths, lengths, lengths), min_size=1, max_size=4).map(tuple)


@settings(max_examples=25, deadline=None)
@given(pairs, st.booleans(), st.none() | st.integers(1, 400))
def test_tiles_hold_everything_that_is_seen(
    rows: tuple[tuple[int, int, int], ...], shared: bool, window: int | None
) -> None:
    layout = (shared_layout if shared else unshared_layout)(rows)
    mask = flex._block_mask(layout, layout.position_ids.shape[1], window)
    truth = dense(mask)
    assert truth.diagonal().all()
    tiles = truth.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE)).transpose(1, 2)
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    some = marked(mask.kv_num_blocks, mask.kv_indices)
    whole = marked(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert not (some & whole).any()
    assert not (tiles.any(-1).any(-1) & ~(some | whole)).any()
    assert not (whole & ~tiles.all(-1).all(-1)).any()


@pytest.mark.parametrize("lengths", [(128, 128, 128), (100, 90, 110)], ids=["whole tiles", "across tiles"])
def test_tiles_far_from_everything_seen_are_not_visited(lengths: tuple[int, int, int]) -> None:
    """What is visited grows with the pairs, not with their square."""
    counts: list[int] = []
    for pairs in (16, 32):
        mask = flex._block_mask(shared_layout((lengths,) * pairs), pairs * sum(lengths), None)
        assert mask.full_kv_num_blocks is not None
        counts.append(int(mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum()))
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.05)
    tiles = 16 * sum(lengths) / TILE
    assert counts[0] <= 4 * tiles


@torch._dynamo.config.patch(recompile_limit=8, specialize_float=False)  # restored afterwards
def test_rows_of_any_length_share_one_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of dynamo, which decides it; what it hands on is run as it is."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = flex._kernel.__wrapped__("cuda")
    monkeypatch.setattr(flex, "_kernel", lambda device: compiled)
    counters = torch._dynamo.utils.counters["stats"]
    before = counters["unique_graphs"]
    for rows in (((100, 30, 40), (7, 150, 3)), ((300, 200, 1),), SHARED_ROW, ((5, 5, 500), (9, 1, 2))):
        row = random_row(shared_layout(rows))
        found = flex_attention(*row.to(torch.float32), row.layout, scale=0.3, softcap=2.0)
        expected = block_attention(*row.to(torch.float32), row.layout, scale=0.3, softcap=2.0)
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)
    assert counters["unique_graphs"] - before == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@torch._dynamo.config.patch(recompile_limit=8, specialize_float=False)  # restored afterwards
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_what_is_compiled_has_the_gradients_of_blocks(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Traced forward and backward as for a GPU; what would then be a kernel is run as it is written.

    One graph serves all lengths; a row of one tile has another, since it has no tile beside it.
    """
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)  # refuses gradients on a CPU
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    compiled = flex._kernel.__wrapped__("cuda")
    monkeypatch.setattr(flex, "_kernel", lambda device: compiled)
    counters = torch._dynamo.utils.counters["stats"]
    before = counters["unique_graphs"]
    for rows in (((20, 10, 10),), ((100, 30, 40), (7, 150, 3)), ((300, 200, 1),), ((5, 5, 500), (9, 1, 2))):
        row = random_row(shared_layout(rows))
        inputs = [x.requires_grad_() for x in row.to(torch.float32)]
        given = dict(options)
        if "sinks" in options:
            given["sinks"] = SINKS.float().requires_grad_()
            inputs.append(given["sinks"])
        query, key, value = inputs[:3]
        results: list[tuple[Tensor, ...]] = []
        for attend in (flex_attention, block_attention):
            output = attend(query, key, value, row.layout, scale=0.3, **given)
            torch.manual_seed(1)
            results.append((output, *torch.autograd.grad(output, inputs, torch.randn(output.shape))))
        for found, expected in zip(*results, strict=True):
            assert relative_error(found, expected) < 1e-5
    assert counters["unique_graphs"] - before <= 2


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_a_mask_is_made_once_per_window() -> None:
    layout = shared_layout()
    length = layout.position_ids.shape[1]
    first = flex._block_mask(layout, length, None)
    assert flex._block_mask(layout, length, None) is first
    assert flex._block_mask(layout, length, 5) is not first
