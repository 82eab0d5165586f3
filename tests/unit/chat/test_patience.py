from __future__ import annotations

import threading
import time

import pytest

from orpo.chat.patience import Gate, Patience


@pytest.mark.parametrize(("attempt", "longest"), [(0, 1.0), (1, 2.0), (3, 8.0), (10, 60.0)])
def test_waits_double_up_to_the_longest(attempt: int, longest: float) -> None:
    waits = [Patience().wait(attempt) for _ in range(50)]
    assert longest / 2 <= min(waits) < max(waits) <= longest


def test_an_open_gate_lets_pass_and_a_closed_one_does_not() -> None:
    gate = Gate()
    assert gate.passes()
    gate.close()
    assert not gate.passes()


def test_all_wait_while_they_are_held() -> None:
    gate, start = Gate(), time.monotonic()
    gate.hold(0.1)
    gate.hold(0.01)  # the longer one counts
    assert gate.passes()
    assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize("held", [True, False])
def test_who_waits_is_woken_when_the_gate_closes(held: bool) -> None:
    gate = Gate()
    if held:
        gate.hold(60)
    threading.Timer(0.05, gate.close).start()
    assert not gate.passes(after=0 if held else 60)
