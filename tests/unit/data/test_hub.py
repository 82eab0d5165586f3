"""Hub datasets without a hub: from a cache as `datasets` leaves it, and every way to be refused."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets.exceptions import DataFilesNotFoundError
from huggingface_hub import errors

from orpo.data.hub import open_hub
from orpo.data.spec import SourceSpec
from orpo.errors import ConfigError, DataError, NetworkError, OrpoError, ResourceError
from tests.datafiles import PLAIN, write_bytes, write_rows

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPEC = SourceSpec("owner/pairs")

http: Any = importlib.import_module(errors.HTTPError.__module__.partition(".")[0])  # pyright: ignore[reportPrivateImportUsage]
"""The HTTP client of the installed huggingface_hub."""


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """HF_HUB_OFFLINE=1 and an empty cache, as if they had been set before the imports; returns the cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def cached(offline: Path, tmp_path: Path) -> SourceSpec:
    """A dataset with UltraFeedback's kind of splits, downloaded before."""
    builder = local_builder(tmp_path / "pairs", offline)
    builder.download_and_prepare()
    repository = offline / "owner___pairs" / "default" / "0.0.0" / COMMIT
    repository.parent.mkdir(parents=True)
    Path(builder.cache_dir).rename(repository)
    return SPEC


def local_builder(folder: Path, cache: Path) -> datasets.DatasetBuilder:
    """What `datasets` builds from a folder that could be a Hub repository."""
    for split in ("train_prefs", "test_prefs", "train_sft"):
        write_rows(folder / f"{split}.jsonl", [row | {"split": split} for row in PLAIN])
    files = {path.stem: path.name for path in folder.iterdir()}
    return datasets.load_dataset_builder(str(folder), cache_dir=str(cache), data_files=files)


def test_a_cached_dataset_is_read_offline_from_the_split_that_fits(cached: SourceSpec) -> None:
    source = open_hub(cached, "train")
    rows = list(source.rows)
    assert [row.values for row in rows] == [row | {"split": "train_prefs"} for row in PLAIN]
    assert rows[1].where == "owner/pairs[train_prefs] row 2"
    assert source.split == "train_prefs"
    assert set(source.splits) == {"train_prefs", "test_prefs", "train_sft"}
    assert [row.values["split"] for row in open_hub(cached, "eval").rows] == ["test_prefs"] * 2


def test_the_fingerprint_names_the_commit_and_the_split(cached: SourceSpec) -> None:
    train, again, test = (open_hub(cached, role).fingerprint for role in ("train", "train", "eval"))
    assert str(train).startswith(f"hub:{COMMIT}:")
    assert train == again
    assert train != test


def test_a_split_that_is_not_there_is_refused_with_those_that_are(cached: SourceSpec) -> None:
    with pytest.raises(ConfigError, match=r"there is no split 'train'; it has .*`train_prefs`"):
        open_hub(SourceSpec(cached.path, split="train"), "train")


def test_a_configuration_that_is_not_cached_is_refused_with_those_that_are(cached: SourceSpec) -> None:
    with pytest.raises(ConfigError, match=r"config 'other'[\s\S]*default"):
        open_hub(SourceSpec(cached.path, config="other"), "train")


def test_a_folder_of_a_dataset_is_one_of_its_own_in_the_cache(cached: SourceSpec, offline: Path) -> None:
    repository = offline / "owner___pairs"
    (repository / "default").rename(repository / "default-data_dir=harmless-base")
    with pytest.raises(ConfigError, match="Couldn't find cache"):
        open_hub(cached, "train")
    source = open_hub(SourceSpec(cached.path, data_dir="harmless-base"), "train")
    assert [row.values["split"] for row in source.rows] == ["train_prefs"] * 2
    assert source.spec == SourceSpec(cached.path, data_dir="harmless-base", split="train_prefs")


def test_the_cache_never_stands_in_for_another_revision(cached: SourceSpec) -> None:
    with pytest.raises(NetworkError, match=f"revision 'v2' could not be fetched; the cache has .*{COMMIT}"):
        open_hub(SourceSpec(cached.path, revision="v2"), "train")
    assert open_hub(SourceSpec(cached.path, revision=COMMIT), "train").split == "train_prefs"


def test_a_dataset_that_was_never_downloaded_needs_a_network(offline: Path) -> None:
    with pytest.raises(NetworkError, match="the Hub cannot be reached") as caught:
        open_hub(SourceSpec("nobody/nothing"), "train")
    assert "HF_HUB_OFFLINE" in str(caught.value.hint)


@dataclass
class Loader:
    """Stands in for `datasets.load_dataset_builder`, and remembers how it was called."""

    result: Callable[[], datasets.DatasetBuilder]
    called: dict[str, Any] | None = None

    def __call__(self, path: str, **kwargs: Any) -> datasets.DatasetBuilder:
        self.called = {"path": path, **kwargs}
        return self.result()


def test_a_dataset_is_prepared_where_its_card_lists_no_splits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    builder = local_builder(tmp_path / "pairs", tmp_path / "cache")
    assert builder.info.splits is None
    loader = Loader(lambda: builder)
    monkeypatch.setattr(datasets, "load_dataset_builder", loader)
    source = open_hub(SourceSpec("owner/pairs", config="c", data_dir="d", revision="main"), "train")
    assert [row.values["split"] for row in source.rows] == ["train_prefs"] * 2
    # and nothing else, so no remote code
    assert loader.called == {"path": "owner/pairs", "name": "c", "data_dir": "d", "revision": "main"}


def test_a_damaged_file_of_a_dataset_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    builder = local_builder(tmp_path / "pairs", tmp_path / "cache")
    write_bytes(tmp_path / "pairs" / "train_sft.jsonl", b'{"prompt": ')
    monkeypatch.setattr(datasets, "load_dataset_builder", Loader(lambda: builder))
    with pytest.raises(DataError, match="owner/pairs: the dataset's files cannot be read: "):
        open_hub(SPEC, "train")


def refusal(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    """The error that huggingface_hub raises for an answer of the Hub."""
    return kind("refused", response=http.Response(status, request=http.Request("GET", "https://hub")))


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            refusal(errors.RepositoryNotFoundError, 404),
            "no such file or folder here, nor a Hub",
            "hf auth login",
        ),
        (refusal(errors.GatedRepoError, 401), "is gated", "https://huggingface.co/datasets/owner/pairs"),
        (refusal(errors.GatedRepoError, 403), "is gated", "hf auth login"),
        (refusal(errors.RevisionNotFoundError, 404), "no revision 'v2'", "owner/pairs/commits"),
        (refusal(errors.HfHubHTTPError, 503), "the Hub cannot be reached: refused", "connection"),
        (http.ConnectError("no route"), "the Hub cannot be reached", "connection"),
        (http.ReadTimeout("slow"), "the Hub cannot be reached", "connection"),
        (http.RemoteProtocolError("garbled"), "the Hub cannot be reached: garbled", "connection"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_refuses_says_what_to_do(
    error: Exception, message: str, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", refuse)
    with pytest.raises(NetworkError) as caught:
        open_hub(SourceSpec("owner/pairs", revision="v2"), "train")
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (DataFilesNotFoundError("No data"), DataError, "cannot be read: No data"),
        (ValueError("BuilderConfig 'c' not found. Available: ['d']"), ConfigError, "Available: ['d']"),
        (RuntimeError("Dataset scripts are no longer supported"), DataError, "scripts are no longer"),
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError, "No space left"),
        (OSError("Not enough disk space. Needed: 1 TB"), ResourceError, "Needed: 1 TB"),
        (ConnectionResetError(errno.ECONNRESET, "reset by peer"), NetworkError, "reset by peer"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_other_failures_keep_their_reason(
    error: Exception, expected: type[OrpoError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> datasets.DatasetBuilder:
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", Loader(fail))
    with pytest.raises(expected) as caught:
        open_hub(SPEC, "train")
    assert message in caught.value.message
    assert caught.value.message.startswith("owner/pairs: ")
