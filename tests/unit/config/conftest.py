"""Configuration files for the tests of `orpo.config`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orpo.config import LoadedConfig, load_config
from orpo.errors import ConfigError

MINIMAL = "model: base\ndata:\n  train: pairs.jsonl\noutput: run\n"
"""Four lines; more can be appended."""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LoadedConfig]:
    """Loads a text as the file config.yaml, with overrides."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *overrides: str) -> LoadedConfig:
        Path("config.yaml").write_text(text, encoding="utf-8")
        return load_config("config.yaml", overrides)

    return load_text


@pytest.fixture
def refused(load: Callable[..., LoadedConfig]) -> Callable[..., ConfigError]:
    """The error that a text and overrides are refused with."""

    def error_of(text: str, *overrides: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        return caught.value

    return error_of
