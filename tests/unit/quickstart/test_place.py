"""The demonstration goes where the user says, or into a directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.quickstart.place import with_place


def test_what_the_user_says_counts() -> None:
    overrides = ["training.seed=3", "output=here"]
    assert with_place(overrides, is_new=True) == overrides


def test_a_new_run_gets_the_first_free_directory_and_one_that_goes_on_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_place(["training.seed=3"], is_new=True) == ["training.seed=3", "output=runs/quickstart"]
    for name in ("quickstart", "quickstart-2"):
        Path("runs", name).mkdir(parents=True)
    assert with_place([], is_new=True) == ["output=runs/quickstart-3"]
    assert with_place([], is_new=False) == ["output=runs/quickstart"]
