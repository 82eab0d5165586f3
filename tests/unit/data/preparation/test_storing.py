"""A cache that cannot be written is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.data.preparation import storing
from orpo.errors import ResourceError


def test_a_refusal_of_the_system_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught, storing(tmp_path):
        tmp_path.write_text("")
    assert caught.value.message == f"data.cache: {tmp_path} cannot be written: Is a directory"
