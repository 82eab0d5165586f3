"""Tells the steps of a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class Reporter(TrainerCallback):
    """Calls a function with the number of steps done.

    Args:
        tell: the function.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each step."""
        self._tell(state.global_step)
