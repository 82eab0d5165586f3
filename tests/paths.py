"""Where the tests find real data and models, which are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ORPO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
"""Folder with `data/` and `models/`; `../shared` beside the repository unless ORPO_SHARED names another."""

needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"real data and models are not at {SHARED}; set ORPO_SHARED"
)
