"""What all tests have in common: one thread, since threads of tiny models only wait for each other."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

import pytest
import torch

torch.set_num_threads(1)

# A shell ignores Ctrl-C for what it starts in the background, and so would all processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_cache = tempfile.TemporaryDirectory(prefix="orpo-cache-")
# At once: modules of tests copy the environment for the processes that they start.
os.environ["ORPO_CACHE"] = _cache.name


def pytest_unconfigure() -> None:
    """Tests never touch the user's cache; what they have put into theirs goes with them."""
    _cache.cleanup()


@pytest.fixture(autouse=True)
def _no_problem_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All models of tests are so small that the fused head would leave them to whole logits."""
    if (head := sys.modules.get("orpo.modeling.head")) is not None:
        monkeypatch.setattr(head, "SMALL_OUTPUTS", 0)
