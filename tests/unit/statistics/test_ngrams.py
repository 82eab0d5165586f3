from __future__ import annotations

from math import exp

import pytest

from orpo.statistics.ngrams import distinct_n, self_bleu, tokenize


def test_tokens_are_words_marks_and_single_characters_of_scripts_without_spaces() -> None:
    assert tokenize("Don't stop, 漢字!") == ["Don", "'", "t", "stop", ",", "漢", "字", "!"]
    assert tokenize(" \n") == []


def test_distinct_n_is_different_over_all() -> None:
    texts = [["a", "b", "a", "b"], ["a", "b"]]
    assert distinct_n(texts, 1) == pytest.approx(2 / 6)
    assert distinct_n(texts, 2) == pytest.approx(2 / 4)
    assert distinct_n(texts, 5) is None


def test_self_bleu_by_hand() -> None:
    texts = [list("abcde"), list("abcdx")]
    # Each: 4/5 unigrams, 3/4, 2/3, 1/2 shared, equal lengths.
    assert self_bleu(texts) == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_a_count_of_zero_is_a_tenth_and_short_texts_are_punished() -> None:
    texts = [list("ab"), list("axyz")]
    short = (1 / 2 * 0.1 / 1 * 0.1 / 1 * 0.1 / 1) ** 0.25 * exp(1 - 4 / 2)
    long = (1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert self_bleu(texts) == pytest.approx((short + long) / 2)


def test_a_word_is_shared_as_often_as_one_other_text_has_it() -> None:
    # The first text's four a's match once; the others are each other's copies.
    texts = [list("aaaa"), list("ab"), list("ab")]
    assert self_bleu(texts, longest=1) == pytest.approx((1 / 4 + 1 + 1) / 3)


def test_the_same_text_again_and_nothing_shared_are_the_extremes() -> None:
    assert self_bleu([list("abcdef")] * 3) == pytest.approx(1)
    assert self_bleu([list("abcd"), list("wxyz")]) == 0
    assert self_bleu([[], list("abcd")]) == 0
