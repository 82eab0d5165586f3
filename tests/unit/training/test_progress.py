"""Progress fits the terminal, and is plain lines where there is none."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from rich.console import Console
from transformers import TrainerState

from orpo.training.progress import ProgressCallback, advancing, counting
from tests.loops import make_loop

WIDTH = 80


def make_console(*, terminal: bool) -> tuple[Console, Callable[[], str]]:
    """A console of 80 columns, and what was written to it."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=WIDTH, color_system=None)
    return console, text.getvalue


def evaluate(on_forward: Callable[[], None]) -> dict[str, float]:
    on_forward()
    return {"loss": 1.25, "rewards/accuracies": 0.75, "logps/chosen": -1.0, "logps/rejected": -1.5}


def test_without_a_terminal_every_row_is_a_plain_line() -> None:
    console, written = make_console(terminal=False)
    make_loop(evaluate=evaluate, max_steps=12, log_every=6, callbacks=[ProgressCallback(console)]).run()
    numbers = r"loss \d\.\d{4}  accuracy [01]\.\d{3}  margin [+-]\d\.\d{4}"
    patterns = [
        r"step  0/12  eval   loss 1\.2500  accuracy 0\.750  margin \+0\.5000",
        rf"step  6/12  train  {numbers}  \d+\.\d pairs/s  \d+\.\d s left",
        rf"step 12/12  train  {numbers}  \d+\.\d pairs/s  0\.0 s left",
        r"step 12/12  eval   loss 1\.2500  accuracy 0\.750  margin \+0\.5000",
    ]
    lines = written().splitlines()
    assert len(lines) == len(patterns)
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.fullmatch(pattern, line), line


def test_a_terminal_of_80_columns_shows_the_bar_and_all_metrics() -> None:
    """A long run, driven by hand: a terminal shows what there is at its own times."""
    console, written = make_console(terminal=True)
    progress, nothing = ProgressCallback(console), cast(Any, None)
    state = TrainerState(max_steps=123456, is_world_process_zero=True)
    logs = {"loss": 12.5, "rewards/accuracies": 0.75, "logps/chosen": -10.0, "logps/rejected": -21.5}
    progress.on_train_begin(nothing, state, nothing)
    progress.on_prediction_step(nothing, state, nothing)
    assert_fits(shown(progress), r"step +0/123456 [━╸ ]{10,} evaluating")
    progress.on_log(nothing, state, nothing, logs={f"eval_{name}": value for name, value in logs.items()})
    assert_fits(shown(progress), r"step +0/123456")
    state.global_step = 61728
    progress.on_step_end(nothing, state, nothing)
    progress.on_log(nothing, state, nothing, logs=logs | {"pairs_per_second": 12345.678})
    assert_fits(
        shown(progress),
        r"step +61728/123456 [━╸ ]{10,} 0\.\d s left",
        "train  loss 12.5000  accuracy 0.750  margin +11.5000  12345.7 pairs/s",
    )
    progress.close()
    assert "step      0/123456  eval   loss 12.5000  accuracy 0.750  margin +11.5000\n" in written()


def shown(progress: ProgressCallback) -> list[str]:
    """What the bar shows now, on a terminal of its own."""
    console, written = make_console(terminal=True)
    assert progress._bar is not None
    console.print(progress._bar.get_renderable())
    return [line.rstrip() for line in written().splitlines()]


def assert_fits(lines: list[str], bar: str, metrics: str = "") -> None:
    assert re.fullmatch(bar, lines[0]), lines[0]
    assert lines[1] == metrics
    assert max(map(len, lines)) <= WIDTH


def test_the_terminal_is_given_back_when_training_fails() -> None:
    console, written = make_console(terminal=True)
    progress = ProgressCallback(console)

    def fail(on_forward: Callable[[], None]) -> dict[str, float]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_loop(evaluate=fail, callbacks=[progress]).run()
    assert not written().endswith("\x1b[?25h")
    progress.close()
    progress.close()
    assert written().count("\x1b[?25h") == written().count("\x1b[?25l") == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_only_the_main_process_shows_progress(terminal: bool) -> None:
    console, written = make_console(terminal=terminal)
    loop = make_loop(max_steps=1, callbacks=[ProgressCallback(console)])
    loop._callbacks.state.is_world_process_zero = False
    loop.run()
    assert written() == ""


def test_counting_is_a_bar_on_a_terminal_and_nothing_elsewhere() -> None:
    for terminal in (True, False):
        console, written = make_console(terminal=terminal)
        with counting(console, "tokenising [1]") as done:
            done(1300)
            done(400)
        assert ("tokenising [1]" in written() and "1,700" in written()) is terminal
    with counting(None, "tokenising") as done:
        done(7)


def test_work_of_known_size_has_a_bar_that_starts_where_it_was() -> None:
    console, written = make_console(terminal=True)
    with advancing(console, "generating\x1b[31m", total=10, done=4) as advance:
        advance(3)
    text = written()
    assert "7/10" in text
    assert "\x1b[31m" not in text


def test_without_a_terminal_work_of_known_size_is_told_of_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console, written = make_console(terminal=False)
    now = [0.0]
    monkeypatch.setattr("orpo.training.progress.time.monotonic", lambda: now[0])
    with advancing(console, "generating", total=10, done=4) as advance:
        for seconds in (10.0, 40.0, 50.0):
            now[0] = seconds
            advance(1)
    assert written() == "generating  6/10\n"
    with advancing(None, "generating", total=1) as advance:
        advance(1)
