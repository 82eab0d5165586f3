"""One thread for all tests: the models are so small that threads only wait for each other."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Tests never touch the user's cache; the processes that they start do not either."""
    cache = tempfile.TemporaryDirectory(prefix="orpo-cache-")
    config.add_cleanup(cache.cleanup)
    os.environ["ORPO_CACHE"] = cache.name
