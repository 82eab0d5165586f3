"""Tokenised pairs in shards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import KEY_BYTES, SHARD_SCHEMA, Shard, ShardBuilder, Side, TokenizedPairs

PAIRS = [
    TokenizedPair((1, 2), (3, 4, 5), (6,), "a.jsonl:1"),
    TokenizedPair((7,), (8,), (), "a.jsonl:2", weight=0.5),
    TokenizedPair((11, 12, 13), (14, 15), (16, 17, 18, 19), "a.jsonl:9", 1.0, 0.25, ((0, 1), (2, 3))),
    TokenizedPair((20, 21), (), (22, 23), "b.jsonl:4", weight=3.0),
]
STOPS = (5, 2, 5, 9)


def key(number: int) -> bytes:
    return bytes([number] * KEY_BYTES)


def shard(first: int, last: int) -> Shard:
    builder = ShardBuilder()
    for number in range(first, last):
        builder.add(PAIRS[number], STOPS[number], key(number))
    return builder.build()


def stored() -> TokenizedPairs:
    return TokenizedPairs.of([shard(0, 1), shard(1, 1), shard(1, 4)], STOPS)


def test_pairs_come_back_as_they_were_added_from_whichever_shard() -> None:
    assert len(stored()) == 4
    assert list(stored()) == PAIRS
    assert stored()[np.int64(1)] == PAIRS[1]
    assert stored()[-1] == PAIRS[3]


def test_lengths_are_those_of_prompt_chosen_and_rejected() -> None:
    assert stored().lengths.tolist() == [[2, 3, 1], [1, 1, 0], [3, 2, 4], [2, 0, 2]]


def test_stop_ids_are_distinct_and_sorted() -> None:
    assert stored().stop_ids == (2, 5, 9)


def test_a_selection_keeps_order_and_shares_the_shards() -> None:
    chosen = stored().select([2, 0])
    assert list(chosen) == [PAIRS[2], PAIRS[0]]
    assert list(chosen.select(np.array([1]))) == [PAIRS[0]]
    assert chosen.prompt_keys() == [key(2), key(0)]
    assert chosen.where() == [PAIRS[2].where, PAIRS[0].where]
    assert chosen.lengths.tolist() == [[3, 2, 4], [2, 3, 1]]
    pairs = stored()
    assert pairs.select([1]).shards is pairs.shards


def test_joined_parts_follow_one_another_selections_included() -> None:
    joined = TokenizedPairs.joined([stored().select([3, 1]), TokenizedPairs.of([shard(2, 3)], [7])])
    assert list(joined) == [PAIRS[3], PAIRS[1], PAIRS[2]]
    assert joined.prompt_keys() == [key(3), key(1), key(2)]
    assert joined.stop_ids == (2, 5, 7, 9)


def test_one_side_of_a_pair_may_be_looked_at() -> None:
    sided = stored().select([0, 0, 2]).only([Side.CHOSEN, Side.REJECTED, Side.BOTH])
    assert list(sided) == [replace(PAIRS[0], rejected=()), replace(PAIRS[0], chosen=()), PAIRS[2]]
    assert sided.lengths.tolist() == [[2, 3, 0], [2, 0, 1], [3, 2, 4]]
    assert list(sided.select([1])) == [replace(PAIRS[0], chosen=())]
    assert list(TokenizedPairs.joined([sided, stored()])) == [*sided, *stored()]


def test_reference_scores_stay_with_their_pairs() -> None:
    scores = np.array([[-1, -2], [-3, 0], [-5, -6], [0, -8]], dtype=np.float32)
    scored = stored().with_references(scores).select([2, 1])
    assert [pair.reference for pair in scored] == [(-5.0, -6.0), (-3.0, 0.0)]


def test_it_is_known_whether_there_are_margins() -> None:
    assert stored().has_margins
    assert not TokenizedPairs.of([shard(0, 2), shard(3, 4)], []).has_margins
    assert not TokenizedPairs.of([], []).has_margins


def test_no_pairs_are_an_empty_sequence() -> None:
    empty = TokenizedPairs.of([ShardBuilder().build()], [])
    assert (len(empty), list(empty), empty.lengths.shape) == (0, [], (0, 3))
    assert len(TokenizedPairs.of([], [])) == 0
    assert len(stored().select([])) == 0


ids = st.lists(st.integers(0, 2**31 - 1), max_size=4).map(tuple)


@given(
    st.lists(st.builds(TokenizedPair, ids, ids, ids, st.text(max_size=4), st.sampled_from([0.5, 1.0]))),
    st.integers(0, 5),
)
def test_a_shard_on_disk_is_the_shard(pairs: list[TokenizedPair], skipped: int) -> None:
    """Through Arrow's own format, from a slice too, whose offsets do not start at 0."""
    builder = ShardBuilder()
    for pair in pairs:
        builder.add(pair, 1)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SHARD_SCHEMA) as writer:
        writer.write_batch(builder.build().batch)
    batch = pa.ipc.open_file(sink.getvalue()).get_batch(0)
    assert list(TokenizedPairs.of([Shard(batch)], [])) == pairs
