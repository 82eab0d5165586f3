"""One thread for all tests: the models are so small that threads only wait for each other."""

from __future__ import annotations

import os
import sys
import tempfile

import pytest
import torch

torch.set_num_threads(1)

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
