"""The flash backends hand their kernels what these need, for every release of them, and gradients come back.

The kernels run on GPUs only.  A reference with their documented meaning stands in: per text, causal with the
last query on the last key, `window_size` keys to the left and right of a query's own, grouped heads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from orpo.ops.attention import varlen
from orpo.ops.attention.blocks import block_attention
from orpo.ops.attention.varlen import flash_attn_attention, flash_attn_kernel, varlen_attention
from tests.unit.ops.attention.rows import Row, random_row, shared_layout, unshared_layout

SCALE = 16**-0.5


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_offsets: Tensor,
    key_offsets: Tensor,
    max_query: int,
    max_key: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    softcap: float = 0.0,
) -> Tensor:
    """FlashAttention's varlen function, (tokens, heads, size) tensors, written out."""
    assert query_offsets.dtype == key_offsets.dtype == torch.int32
    assert type(max_query) is type(max_key) is int
    assert max_query == query_offsets.diff().max()
    assert max_key == key_offsets.diff().max()
    left, right = window_size
    outputs: list[Tensor] = []
    for i in range(len(query_offsets) - 1):
        q = query[query_offsets[i] : query_offsets[i + 1]]
        k, v = (x[key_offsets[i] : key_offsets[i + 1]] for x in (key, value))
        group = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        at = torch.arange(len(q))[:, None] + len(k) - len(q)
        distance = torch.arange(len(k)) - at
        hidden = (distance > right) & (right >= 0) | (-distance > left) & (left >= 0)
        outputs.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v))
    return torch.cat(outputs)


def torch_2_10(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    return_aux: None = None,
) -> Tensor:
    assert is_causal
    scale = q.shape[-1] ** -0.5
    return reference(q, k, v, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=(-1, 0))


def torch_2_11(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    assert scale is not None
    return reference(q, k, v, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size)


def torch_2_12(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    *,
    return_aux: None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    assert enable_gqa
    assert cu_seq_k is not None
    return torch_2_11(q, k, v, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size)


@pytest.fixture(params=[torch_2_10, torch_2_11, torch_2_12])
def torch_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", request.param)
    varlen._torch_options.cache_clear()
    yield request.param
    varlen._torch_options.cache_clear()


@pytest.fixture
def flash_attn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def flash_attn_varlen_func(
        *tensors: Any, softmax_scale: float, causal: bool, window_size: tuple[int, int], softcap: float
    ) -> Tensor:
        assert causal
        return reference(*tensors, scale=softmax_scale, window_size=window_size, softcap=softcap)

    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash_attn_varlen_func  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    flash_attn_kernel.cache_clear()
    yield
    flash_attn_kernel.cache_clear()


def assert_same(attend: Any, row: Row, **options: Any) -> None:
    """Output and gradients are those of `block_attention`."""
    inputs = (row.query, row.key, row.value)
    results: list[tuple[Tensor, ...]] = []
    for function in (block_attention, attend):
        output = function(*inputs, row.layout, **options)
        torch.manual_seed(1)
        slopes = torch.randn(output.shape, dtype=output.dtype)
        results.append((output, *torch.autograd.grad((output * slopes).sum(), inputs)))
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


ROWS = {"shared": shared_layout(), "unshared": unshared_layout()}


@pytest.mark.parametrize("layout", ROWS.values(), ids=ROWS)
@pytest.mark.usefixtures("torch_kernel")
def test_output_and_gradients_equal_those_of_blocks(layout: Any) -> None:
    assert_same(varlen_attention, random_row(layout), scale=SCALE)


@pytest.mark.parametrize("layout", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("options", [{"window": 5}, {"window": 1}, {"window": 10**6}, {"scale": 0.1}])
def test_windows_and_scales_are_exact_where_the_kernel_has_them(
    torch_kernel: Any, layout: Any, options: dict[str, Any]
) -> None:
    options = {"scale": SCALE} | options
    if torch_kernel is torch_2_10:
        with pytest.raises(NotImplementedError, match=r"torch 2\.10"):
            varlen_attention(*random_row(layout).to(torch.float64), layout, **options)
    else:
        assert_same(varlen_attention, random_row(layout), **options)


def test_the_installed_torch_has_a_kernel_with_these_options() -> None:
    varlen._torch_options.cache_clear()
    assert varlen._torch_options() >= {"query", "key", "value", "max_q", "max_k"}
    assert varlen.torch_has_windows() or "is_causal" in varlen._torch_options()


def test_keys_are_gathered_only_where_a_prompt_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered: list[int] = []
    original = Tensor.index_select

    def counting(self: Tensor, dim: int, index: Tensor) -> Tensor:
        gathered.append(len(index))
        return original(self, dim, index)

    monkeypatch.setattr(Tensor, "index_select", counting)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", torch_2_11)
    varlen._torch_options.cache_clear()
    row = random_row(ROWS["unshared"])
    varlen_attention(*row.to(torch.float64), row.layout, scale=SCALE)
    assert gathered == []
    row = random_row(ROWS["shared"])
    varlen_attention(*row.to(torch.float64), row.layout, scale=SCALE)
    assert gathered == [len(row.layout.key_index)] * 2
    varlen._torch_options.cache_clear()


@pytest.mark.usefixtures("flash_attn")
@pytest.mark.parametrize("layout", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("options", [{}, {"softcap": 2.0}, {"softcap": 2.0, "window": 5}, {"scale": 0.1}])
def test_flash_attn_equals_blocks_softcap_included(layout: Any, options: dict[str, Any]) -> None:
    assert_same(flash_attn_attention, random_row(layout), **({"scale": SCALE} | options))


def test_a_flash_attn_that_cannot_be_imported_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    flash_attn_kernel.cache_clear()
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert flash_attn_kernel() is None
    row = random_row(ROWS["shared"])
    with pytest.raises(RuntimeError, match="flash_attn is not installed"):
        flash_attn_attention(*row.to(torch.float64), row.layout, scale=SCALE)
    flash_attn_kernel.cache_clear()


@pytest.mark.parametrize(
    ("attend", "options"),
    [
        (varlen_attention, {"softcap": 2.0}),
        (varlen_attention, {"sinks": torch.zeros(4)}),
        (flash_attn_attention, {"sinks": torch.zeros(4)}),
    ],
)
def test_what_a_kernel_lacks_is_refused(attend: Any, options: dict[str, Any]) -> None:
    row = random_row(ROWS["shared"])
    with pytest.raises(NotImplementedError):
        attend(*row.to(torch.float64), row.layout, scale=SCALE, **options)
