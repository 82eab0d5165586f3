"""What goes wrong while loading is one message with a hint, whatever library raised it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from orpo.errors import ConfigError, DataError, NetworkError, OrpoError
from orpo.modeling.hub import loading, looks_local


def http(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    return kind("the server's own words", response=Mock(headers={}))


def fail(error: Exception, *, wrapped: bool) -> None:
    """Raise `error`, perhaps as transformers does: inside an error of another kind."""
    if not wrapped:
        raise error
    try:
        raise error
    except type(error):
        raise OSError("We couldn't connect, or this is not a local folder")  # noqa: B904


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (http(GatedRepoError), NetworkError, "the model a/b is gated", "huggingface.co/a/b"),
        (http(RevisionNotFoundError), ConfigError, "the model a/b has no revision v9", "model.revision"),
        (http(RepositoryNotFoundError), NetworkError, "the Hub has no model a/b", "hf auth login"),
        (http(HfHubHTTPError), NetworkError, "could not be reached", "local folder"),
        (OfflineModeIsEnabled(), NetworkError, "could not be reached", "local folder"),
        (LocalEntryNotFoundError("no file"), NetworkError, "could not be reached", "local folder"),
        (ConnectionError(), NetworkError, "could not be reached", "local folder"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_failure_of_the_hub_has_its_message(
    error: Exception, kind: type[OrpoError], message: str, hint: str, wrapped: bool
) -> None:
    with pytest.raises(kind) as caught, loading("model", "a/b", "v9"):
        fail(error, wrapped=wrapped)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert "own words" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError("first\nsecond"), ValueError("first"), SafetensorError("first")])
def test_a_damaged_model_is_named_with_the_first_line_of_the_reason(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught, loading("model", str(tmp_path), None):
        raise error
    assert caught.value.message == f"the model at {tmp_path} cannot be loaded: first"


def test_our_own_errors_pass_through() -> None:
    error = DataError("as it was")
    with pytest.raises(DataError) as caught, loading("model", "a/b", None):
        raise error
    assert caught.value is error


def test_whatever_a_library_raises_is_one_message() -> None:
    with (
        pytest.raises(ConfigError, match="cannot be loaded: division by zero"),
        loading("model", "a/b", None),
    ):
        raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("name", "local"),
    [("owner/name", False), ("gpt2", False), ("./a", True), ("/a/b", True), ("~/a", True), ("a/b/c", True)],
)
def test_only_what_cannot_be_a_hub_id_is_taken_for_a_folder(name: str, local: bool) -> None:
    assert looks_local(name) is local


def test_a_folder_that_exists_is_local_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert looks_local("owner/name")
    loaded: list[Any] = []
    with loading("model", "owner/name", None):
        loaded.append(True)
    assert loaded
