from __future__ import annotations

import random

from orpo.data.pairs import Single
from orpo.doctor.duplicates import (
    NearIndex,
    Sketch,
    exact_duplicates,
    near_duplicates,
    near_shared_prompts,
    shared_prompts,
    sketch_of,
)
from orpo.doctor.words import jaccard, shingles
from tests.conversations import chat, pair

QUESTION = "Please explain to me how the tides of the sea follow the moon around the whole earth every day"


def text(seed: int, size: int = 60) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(5000)}" for _ in range(size))


def edited(original: str, changes: int) -> str:
    """`original` with as many of its words replaced, far from each other."""
    found = original.split()
    for i in range(changes):
        found[5 + i * 10] = f"new{i}"
    return " ".join(found)


def test_a_repeated_pair_is_named_with_the_first_one() -> None:
    pairs = [pair("Q", "a", "b", "f:1"), pair("Q", "a", "c", "f:2"), pair(" Q", "a ", "b", "f:3")]
    (hit,) = exact_duplicates(pairs)
    assert hit.where == "f:3"
    assert hit.text.startswith("as f:1")


def test_a_pair_with_one_word_changed_is_a_near_duplicate() -> None:
    pairs = [pair(text(1), text(2), text(3), "f:1"), pair(text(4), text(5), text(6), "f:2")]
    (hit,) = near_duplicates([*pairs, pair(text(1), edited(text(2), 1), text(3), "f:3")])
    assert hit.where == "f:3"
    assert hit.text.startswith("nearly f:1")


def test_an_exact_duplicate_is_not_a_near_one() -> None:
    same = pair(text(1), text(2), text(3))
    assert near_duplicates([same, same]) == []


def test_pairs_of_one_prompt_with_other_responses_are_no_duplicates() -> None:
    assert near_duplicates([pair(QUESTION, text(i), text(-i), f"f:{i}") for i in range(1, 20)]) == []


def test_short_texts_are_alike_by_chance() -> None:
    assert near_duplicates([pair("1 + 1", "is 2", "is 3"), pair("1 + 1", "is 2", "is 3 !")]) == []


def test_the_near_index_finds_what_is_above_the_limit_and_nothing_below_it() -> None:
    """Recall at high similarity, and no false alarm: each candidate is compared exactly."""
    originals = [text(i) for i in range(200)]
    close, far = ([edited(original, n) for original in originals] for n in (1, 5))
    assert jaccard(shingles(originals[0]), shingles(close[0])) > 0.85
    assert jaccard(shingles(originals[0]), shingles(far[0])) < 0.7
    index = NearIndex()
    for i, original in enumerate(originals):
        index.add(sketched(original), i)
    assert sum(list(index.matches(sketched(copy))) == [i] for i, copy in enumerate(close)) >= 196
    assert [list(index.matches(sketched(copy))) for copy in far] == [[]] * 200


def sketched(original: str) -> Sketch:
    sketch = sketch_of(original)
    assert sketch is not None
    return sketch


def test_other_responses_to_a_long_prompt_are_no_duplicate() -> None:
    long = text(1, 2000)
    pairs = [pair(long, text(2), text(3)), pair(long, text(4), text(5))]
    assert jaccard(*(shingles(f"{p.prompt} {p.chosen} {p.rejected}") for p in pairs)) > 0.85
    assert near_duplicates(pairs) == []


def test_an_evaluation_prompt_that_was_trained_on_is_found() -> None:
    train = [pair(chat(QUESTION), "a", "b", "train:7")]
    evaluation = [pair(chat("Other?"), "a", "b", "eval:1"), pair(chat(QUESTION + " "), "c", "d", "eval:2")]
    (hit,) = shared_prompts(train, evaluation)
    assert hit.where == "eval:2"
    assert hit.text.startswith("as train:7")


def test_an_evaluation_prompt_that_was_nearly_trained_on_is_found_whatever_the_system_turn() -> None:
    train = [pair(chat(QUESTION, system=text(1)), where="train:7"), pair(chat(text(2)), where="train:8")]
    evaluation = [pair(chat(QUESTION + " again", system=text(3)), where="eval:1")]
    (hit,) = near_shared_prompts(train, evaluation)
    assert hit.where == "eval:1"
    assert hit.text.startswith("nearly train:7")


def test_one_system_turn_does_not_make_questions_near() -> None:
    train = [pair(chat("Why is the sky blue on most days of the year?", system=text(1, 200)))]
    evaluation = [pair(chat("Who wrote the first book about bread in this town?", system=text(1, 200)))]
    assert near_shared_prompts(train, evaluation) == []


def test_a_prompt_that_is_exactly_shared_is_not_nearly_shared() -> None:
    assert near_shared_prompts([pair(QUESTION)], [pair(QUESTION)]) == []


def test_single_responses_are_compared_with_each_other_and_not_with_pairs() -> None:
    long = text(1)
    items = [
        pair("q", "a", "b", where="f:1"),
        Single("q", "a", is_desirable=True, where="f:2"),
        Single("q ", "a", is_desirable=True, where="f:3"),
        Single("q", "b", is_desirable=True, where="f:4"),
        Single("q", long, is_desirable=True, where="f:5"),
        Single("q", edited(long, 1), is_desirable=True, where="f:6"),
    ]
    assert [(hit.where, hit.text) for hit in exact_duplicates(items)] == [("f:3", "as f:2: q ")]
    assert [(hit.where, hit.text) for hit in near_duplicates(items)] == [("f:6", "nearly f:5: q")]
