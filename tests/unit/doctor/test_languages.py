from __future__ import annotations

import pytest

from orpo.doctor.languages import UNDETERMINED, count_languages, language, other_languages
from tests.conversations import pair

ENGLISH = "The weather is going to be fine tomorrow, so we should all go for a walk by the river."
FRENCH = "Il va faire beau demain, alors nous devrions tous aller nous promener au bord de la rivière."
RUSSIAN = "Завтра будет хорошая погода, и мы все пойдём гулять вдоль реки."
CHINESE = "明天天气会很好，我们都应该去河边散步，然后一起吃晚饭。"


@pytest.mark.parametrize(
    ("text", "code"), [(ENGLISH, "en"), (FRENCH, "fr"), (RUSSIAN, "ru"), (CHINESE, "zh")], ids=str
)
def test_a_sentence_tells_its_language(text: str, code: str) -> None:
    assert language(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes.",
        "42 + 17 = 59 " * 20,
        "🙂" * 50,
        "(=<`#9]~6ZY32Vx/4Rs+0No-&Jk)Fh}|Bcy?`=*z]Kw%oG4UUS0/@-ejc(:8dc" * 3,
    ],
)
def test_a_text_without_enough_letters_is_undetermined(text: str) -> None:
    assert language(text) == UNDETERMINED


def test_languages_are_counted_the_most_frequent_first() -> None:
    assert list(count_languages(["fr", "en", "en", "und"]).items()) == [("en", 2), ("fr", 1), ("und", 1)]


def test_rows_in_another_language_than_most_are_named() -> None:
    pairs = [pair("Q", chosen=ENGLISH, where=f"f:{i}") for i in range(4)]
    hits = other_languages(pairs, ["en", "und", "fr", "en"])
    assert [(hit.where, hit.text[:3]) for hit in hits] == [("f:2", "fr:")]
