"""Signals end work at once or when it may end, and a second Ctrl-C waits for nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator

import pytest

from orpo.errors import Interrupted
from orpo.interruption import SIGNALS, describe, listening, postponed, requested


@pytest.fixture(autouse=True)
def handlers_are_given_back() -> Generator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # a bytecode at which the handler runs


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_work_that_can_be_done_again_ends_at_once(number: int, name: str) -> None:
    with pytest.raises(Interrupted, match=name) as caught, listening():
        send(number)
    assert caught.value.exit_code == 75
    assert not caught.value.resumable


@pytest.mark.parametrize("number", SIGNALS)
def test_postponed_work_is_asked_and_goes_on(number: int) -> None:
    with listening(), postponed():
        assert requested() == 0
        send(number)
        assert requested() == number
        send(signal.SIGTERM)
        assert requested() == number, "the first one counts"
    assert requested() == 0


def test_a_later_signal_does_not_disturb_the_end_that_the_first_one_began() -> None:
    cleaned: list[bool] = []

    def work() -> None:
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGUSR1)
            cleaned.append(True)

    with pytest.raises(Interrupted), listening():
        work()
    assert cleaned


def test_a_second_ctrl_c_does_not_wait_for_postponed_work() -> None:
    with listening(), postponed():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as caught:
            send(signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)


def test_listening_within_listening_is_the_outer_one() -> None:
    with listening(), postponed():
        with listening():
            send(signal.SIGTERM)
        assert requested() == signal.SIGTERM


def test_in_another_thread_nothing_is_handled_and_nothing_fails() -> None:
    done: list[int] = []

    def work() -> None:
        with listening(), postponed():
            done.append(requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [0]


def test_who_was_asked_is_said_where_there_are_several() -> None:
    assert describe(signal.SIGTERM) == "SIGTERM"
    assert describe(signal.SIGINT, rank=2, ranks=4) == "Ctrl-C to process 2 of 4"


BUSY = """
import ctypes, time
from orpo.cli.messages import one_clear_message
from orpo.interruption import postponed
with one_clear_message(), postponed():
    print("ready", flush=True)
    {stuck}
"""

DEADLOCK = (
    "lock = ctypes.create_string_buffer(64); [ctypes.CDLL(None).pthread_mutex_lock(lock) for _ in '12']"
)
"""As in a collective whose peer is gone: nothing written in Python runs in this thread any more."""


def busy(stuck: str) -> subprocess.Popen[str]:
    """A process whose main thread is somewhere for half a minute."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(stuck=stuck)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    "stuck",
    ["time.sleep(30)", DEADLOCK],
    ids=["in Python", "in a deadlock"],
)
def test_the_command_line_ends_at_a_second_ctrl_c_wherever_it_is(stuck: str) -> None:
    process = busy(stuck)
    assert process.stderr is not None
    try:
        process.send_signal(signal.SIGINT)
        assert "Ctrl-C again ends at once" in process.stderr.readline()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert time.monotonic() - started < 5
    finally:
        process.kill()
        process.communicate()


def test_signals_of_forked_processes_are_not_the_parents() -> None:
    program = """
import os, signal, time
from orpo.interruption import ending_at_second_interrupt, listening, postponed, requested
with listening(), ending_at_second_interrupt(print), postponed():
    for _ in range(2):
        child = os.fork()
        if child == 0:
            time.sleep(30)
        time.sleep(0.2)
        os.kill(child, signal.SIGINT)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGINT
    time.sleep(0.2)
    print("asked", requested())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (0, "asked 0\n"), done.stderr
