from __future__ import annotations

import numpy as np
import pytest

from orpo.doctor.words import jaccard, prompt_text, question, shingles, texts, words
from tests.conversations import chat, pair


def test_words_have_no_case_and_no_punctuation() -> None:
    assert words("Hello, World! It's 5.") == ["hello", "world", "it", "s", "5"]


def test_scripts_without_spaces_have_a_word_per_character() -> None:
    assert words("今日は ok です") == ["今", "日", "は", "ok", "で", "す"]


def test_shingles_are_distinct_and_sorted() -> None:
    hashes = shingles("a b c a b c a b c")
    assert len(hashes) == 3
    assert np.all(np.diff(hashes.astype(np.int64)) > 0)


@pytest.mark.parametrize("text", ["", "one", "one two"])
def test_a_short_text_is_one_shingle(text: str) -> None:
    assert len(shingles(text)) == 1


def test_jaccard_is_the_shared_part_of_the_union() -> None:
    assert jaccard(shingles("a b c d"), shingles("a b c d")) == 1
    assert jaccard(shingles("a b c d"), shingles("b c d e")) == pytest.approx(1 / 3)
    assert jaccard(shingles("a b c"), shingles("x y z")) == 0


def test_a_question_is_a_prompt_without_its_system_turn() -> None:
    prompt = chat("Why?", system="Be brief.")
    assert question(prompt) == "Why?"
    assert prompt_text(prompt) == "system: Be brief.\n\nuser: Why?"
    assert question("plain") == prompt_text("plain") == "plain"


def test_the_texts_of_a_pair_are_its_turns_and_responses() -> None:
    assert texts(pair(chat("Why?", system="Be brief."), "a", "b")) == ["Be brief.", "Why?", "a", "b"]
    assert texts(pair("Why?", "a", "b")) == ["Why?", "a", "b"]
