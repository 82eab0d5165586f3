from __future__ import annotations

import random

import pytest

from orpo.data.pairs import Pair
from orpo.doctor import signal
from orpo.doctor.signal import signal_of_words, silence
from orpo.statistics.rates import Rate
from tests.conversations import pair


def noise(rng: random.Random, size: int = 30) -> str:
    return " ".join(f"w{rng.randrange(300)}" for _ in range(size))


def labelled(count: int, chosen: str, rejected: str, *, agree: float = 1.0) -> list[Pair]:
    """Pairs of random words whose chosen side has a telling word, in a share `agree` of them."""
    rng = random.Random(0)
    pairs: list[Pair] = []
    for i in range(count):
        sides = [f"{noise(rng)} {chosen}", f"{noise(rng)} {rejected}"]
        if rng.random() >= agree:
            sides.reverse()
        pairs.append(pair(f"Q{i}", *sides, where=f"f:{i}"))
    return pairs


def test_a_word_that_tells_is_found() -> None:
    found = signal_of_words(labelled(400, "please", "whatever", agree=0.9))
    assert found is not None
    low, high = found.words.interval
    assert low > 0.7
    assert low < 0.9 < high + 0.05


def test_random_labels_have_no_signal_although_training_pairs_could_be_learned_by_heart() -> None:
    found = signal_of_words(labelled(400, "same", "same"))
    assert found is not None
    assert found.words.interval[0] < 0.5


def test_copies_of_one_prompt_are_never_on_both_sides() -> None:
    """Else twins of noise would be recognised: here every pair is there four times."""
    pairs = labelled(150, "same", "same") * 4
    found = signal_of_words(pairs)
    assert found is not None
    assert abs(found.words.value - 0.5) < 0.1


def test_equal_lengths_are_a_part_of_all() -> None:
    pairs = labelled(200, "please", "whatever")
    longer = [pair(p.prompt, p.chosen * 2, p.rejected) for p in pairs[:50]]
    found = signal_of_words([*longer, *pairs[50:]])
    assert found is not None
    assert found.words.trials == 200
    assert found.words_at_equal_length.trials <= 150


def test_many_pairs_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "MOST_PAIRS", 150)
    found = signal_of_words(labelled(400, "please", "whatever"))
    assert found is not None
    assert found.words.trials == 134


def test_few_pairs_have_no_answer() -> None:
    assert signal_of_words(labelled(99, "a", "b")) is None


def test_pairs_of_one_prompt_cannot_be_held_out_and_have_no_answer() -> None:
    assert signal_of_words([pair("Q", p.chosen, p.rejected) for p in labelled(200, "a", "b")]) is None


def test_the_same_pairs_give_the_same_answer() -> None:
    pairs = labelled(150, "please", "whatever", agree=0.7)
    assert signal_of_words(pairs) == signal_of_words(pairs)


@pytest.mark.parametrize(
    ("words", "length", "silent"),
    [
        (Rate(52, 100), Rate(50, 100), True),
        (Rate(80, 100), Rate(50, 100), False),
        (Rate(52, 100), Rate(90, 100), False),
        (Rate(52, 100), Rate(10, 100), False),
    ],
)
def test_silence_is_when_neither_words_nor_length_tell(words: Rate, length: Rate, silent: bool) -> None:
    assert bool(silence("train", signal.Signal(words, words), length)) is silent


def test_without_a_measurement_nothing_is_said() -> None:
    assert silence("train", None, Rate(0, 0)) == []
