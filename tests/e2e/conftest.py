"""A workspace for each test, and one for those that only look at a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.commands import Workspace, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)
