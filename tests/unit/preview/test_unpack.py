"""Out of the tensors of every layout come the pairs that were put in, and nothing is scored elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orpo.batch import Layout, MicroBatch, PromptTokens
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.preview.terms import Terms
from orpo.preview.unpack import PairTokens, Token, texts_of, unpack

PAIRS = [
    TokenizedPair((1, 2, 3), (4, 5), (6,), "a:1", weight=2.0),
    TokenizedPair((7,), (8,), (9, 10, 11, 12), "a:2"),
]


def laid_out(
    pairs: list[TokenizedPair], layout: Layout, which: PromptTokens = PromptTokens.NONE
) -> tuple[MicroBatch, list[PairTokens]]:
    """The batch, and what it is unpacked to if every scored token is in both terms."""
    batch = collate(pairs, layout, pad_id=0, prompt_tokens=which)
    return batch, unpack(batch, [Terms.BOTH] * len(batch.targets))


def ids(tokens: tuple[Token, ...]) -> tuple[int, ...]:
    return tuple(token.id for token in tokens)


def places(tokens: tuple[Token, ...]) -> list[tuple[int, int]]:
    return [(token.row, token.column) for token in tokens]


def in_terms(tokens: tuple[Token, ...]) -> list[int]:
    """Ids of the scored tokens."""
    return [token.id for token in tokens if token.terms]


def test_a_shared_row_has_each_prompt_once() -> None:
    _, (first, second) = laid_out(PAIRS, Layout.SHARED)
    assert places(first.prompt) == [(0, 0), (0, 1), (0, 2)]
    assert places(first.chosen) == [(0, 3), (0, 4)]
    assert places(first.rejected) == [(0, 5)]
    assert places(second.prompt) == [(0, 6)]
    assert places(second.chosen) == [(0, 7)]
    assert places(second.rejected) == [(0, 8), (0, 9), (0, 10), (0, 11)]


def test_a_packed_row_has_the_rejected_response_after_a_prompt_of_its_own() -> None:
    _, (first, second) = laid_out(PAIRS, Layout.PACKED)
    assert places(first.prompt) == [(0, 0), (0, 1), (0, 2)]
    assert places(first.chosen) == [(0, 3), (0, 4)]
    assert places(first.rejected) == [(0, 8)]
    assert places(second.chosen) == [(0, 10)]
    assert places(second.rejected) == [(0, 12), (0, 13), (0, 14), (0, 15)]


def test_padded_rows_have_a_branch_each_and_padding_is_in_no_text() -> None:
    batch, (first, second) = laid_out(PAIRS, Layout.PADDED)
    assert places(first.prompt) == [(0, 0), (0, 1), (0, 2)]
    assert places(first.chosen) == [(0, 3), (0, 4)]
    assert places(first.rejected) == [(2, 3)]
    assert places(second.chosen) == [(1, 1)]
    assert places(second.rejected) == [(3, 1), (3, 2), (3, 3), (3, 4)]
    assert [len(text) for text in texts_of(batch)] == [5, 2, 4, 5]


@pytest.mark.parametrize("layout", Layout)
def test_positions_go_on_from_the_prompt_in_both_responses(layout: Layout) -> None:
    _, (first, second) = laid_out(PAIRS, layout)
    assert [token.position for token in first.prompt] == [0, 1, 2]
    assert [token.position for token in first.chosen] == [3, 4]
    assert [token.position for token in first.rejected] == [3]
    assert [token.position for token in second.rejected] == [1, 2, 3, 4]
    assert [first.weight, second.weight] == [2.0, 1.0]


@pytest.mark.parametrize("layout", Layout)
def test_of_the_prompt_exactly_the_scored_tokens_are_in_terms(layout: Layout) -> None:
    pair = TokenizedPair((1, 2, 3, 4, 5, 6), (7,), (8,), "a:1", answers=((0, 2), (3, 5)))
    assert in_terms(laid_out([pair], layout)[1][0].prompt) == []
    assert in_terms(laid_out([pair], layout, PromptTokens.ALL)[1][0].prompt) == [2, 3, 4, 5, 6]
    assert in_terms(laid_out([pair], layout, PromptTokens.ANSWERS)[1][0].prompt) == [2, 4, 5]


@pytest.mark.parametrize("layout", Layout)
def test_a_response_that_begins_the_other_one_is_told_from_it(layout: Layout) -> None:
    _, (tokens,) = laid_out([TokenizedPair((1,), (2, 3), (2,), "a:1")], layout)
    assert ids(tokens.chosen) == (2, 3)
    assert ids(tokens.rejected) == (2,)
    assert not set(places(tokens.chosen)) & set(places(tokens.rejected))


segment = st.lists(st.integers(0, 5), min_size=1, max_size=6).map(tuple)
nothing: st.SearchStrategy[tuple[int, ...]] = st.just(())


@st.composite
def some_pairs(draw: st.DrawFn) -> list[TokenizedPair]:
    pairs: list[TokenizedPair] = []
    for _ in range(draw(st.integers(1, 5))):
        prompt = draw(segment)
        chosen, rejected = draw(
            st.one_of(
                st.tuples(segment, segment), st.tuples(segment, nothing), st.tuples(nothing, segment)
            ).filter(lambda responses: responses[0] != responses[1])
        )
        start = draw(st.integers(0, len(prompt) - 1))
        pairs.append(TokenizedPair(prompt, chosen, rejected, "here", answers=((start, len(prompt)),)))
    return pairs


@settings(max_examples=100, deadline=None)
@given(pairs=some_pairs(), layout=st.sampled_from(Layout), which=st.sampled_from(PromptTokens))
def test_unpacking_undoes_collating(pairs: list[TokenizedPair], layout: Layout, which: PromptTokens) -> None:
    batch, unpacked = laid_out(pairs, layout, which)
    for pair, tokens in zip(pairs, unpacked, strict=True):
        assert ids(tokens.prompt) == pair.prompt
        assert ids(tokens.chosen) == pair.chosen
        assert ids(tokens.rejected) == pair.rejected
    shown = (
        token for pair in unpacked for part in (pair.prompt, pair.chosen, pair.rejected) for token in part
    )
    scored = Counter((token.row, token.column, token.id) for token in shown if token.terms)
    assert scored == Counter(scored_by(batch))


def scored_by(batch: MicroBatch) -> Iterator[tuple[int, int, int]]:
    """Row, column and id of every scored token: after the state that predicts it, but for the first of a
    response that shares its prompt, which begins its block."""
    width = batch.input_ids.shape[1]
    sharing = iter(
        [block for block in batch.attention.blocks if block.prefix_length] if batch.attention else []
    )
    size = len(batch.weight)
    seen: set[int] = set()
    for before, target, of in zip(
        batch.rows.tolist(), batch.targets.tolist(), batch.segments.tolist(), strict=True
    ):
        is_first = of not in seen
        seen.add(of)
        has_chosen = bool(batch.counts[0, of % size])
        place = before + 1
        if is_first and size <= of < 2 * size and has_chosen and (block := next(sharing, None)) is not None:
            place = block.start
        yield place // width, place % width, target
