"""What goes wrong while loading is one message with a hint, whatever library raised it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file

from orpo.errors import ConfigError, DataError, NetworkError, OrpoError
from orpo.modeling.hub import loading, looks_local
from orpo.modeling.load import load_model
from orpo.modeling.lora import add_lora
from tests.tiny import save_tiny_model, tiny_llama


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


def test_an_adapter_is_not_a_model_and_the_line_that_merges_it_works(tmp_path: Path) -> None:
    base, adapter = save_tiny_model(tmp_path / "base"), tmp_path / "adapter"
    loaded = load_model(str(base))
    add_lora(loaded.model, r=2, alpha=4, dropout=0.0, target="all-linear").save_pretrained(str(adapter))
    loaded.tokenizer.save_pretrained(adapter)
    with pytest.raises(ConfigError, match="is an adapter, not a model") as caught:
        load_model(str(adapter))
    line = str(caught.value.hint).splitlines()[1]
    subprocess.run([sys.executable, *shlex.split(line)[1:]], check=True, cwd=tmp_path, capture_output=True)
    load_model(str(tmp_path / "merged"))


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


# Pickles


def pickled(folder: Path) -> Path:
    save_tiny_model(folder)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_llama(vocab_size=259).state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a pickle was read")

    monkeypatch.setattr(torch, "load", refuse)


def run(command: str) -> None:
    """Run what the message says, with this Python."""
    program = shlex.split(command)
    assert program[:2] == ["python", "-c"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *program[1:]], check=True, timeout=100, env=environment, capture_output=True
    )


def test_pickled_weights_are_refused_with_the_command_that_converts_them(tmp_path: Path) -> None:
    folder = pickled(tmp_path / 'a "folder\'s" name')
    with pytest.raises(ConfigError, match=r"refused: pickle: .*pytorch_model\.bin") as caught:
        load_model(str(folder))
    assert caught.value.hint is not None
    run(caught.value.hint.splitlines()[1])
    loaded = load_model(str(folder)).model
    expected = tiny_llama(vocab_size=259).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


@pytest.mark.usefixtures("no_pickle")
def test_an_adapter_that_is_a_pickle_is_refused_with_the_command(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("{}")
    weights = {"a": torch.arange(3.0)}
    torch.save(weights, folder / "adapter_model.bin")
    with pytest.raises(ConfigError, match=r"refused: pickle: .*adapter_model.bin") as caught:
        load_model(str(folder))
    assert caught.value.hint is not None
    run(caught.value.hint.splitlines()[1])
    assert torch.equal(load_file(folder / "adapter_model.safetensors")["a"], weights["a"])


@pytest.mark.usefixtures("no_pickle")
def test_a_configuration_cannot_name_a_pickle_as_the_weights(tmp_path: Path) -> None:
    """transformers 5.23 reads it in spite of `use_safetensors=True`."""
    folder = save_tiny_model(tmp_path / "model")
    torch.save(tiny_llama(vocab_size=259).state_dict(), folder / "adapter_model.bin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "adapter_model.bin"}))
    with pytest.raises(ConfigError, match=r"refused: pickle: config\.json of .* names adapter_model.bin"):
        load_model(str(folder))


def test_a_hub_model_without_safetensors_is_refused_with_the_command() -> None:
    error = OSError(
        "a/b does not appear to have ... and thus cannot be loaded with `safetensors`. Please ..."
    )
    with pytest.raises(ConfigError, match="refused: pickle: a/b") as caught, loading("model", "a/b", None):
        raise error
    assert caught.value.hint is not None
    assert 'n = "a/b"; d = "b"' in caught.value.hint


def test_safetensors_beside_a_pickle_are_read(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    torch.save({}, folder / "pytorch_model.bin")
    load_model(str(folder))
