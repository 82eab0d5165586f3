"""Datasets of the Hugging Face Hub, or of its local cache, through `datasets`.

No code of a dataset is ever run: `trust_remote_code` is not passed, and `datasets` no longer knows scripts.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from orpo.data.rows import Row
from orpo.data.spec import OpenSource, Role, SourceSpec
from orpo.data.splits import choose_split
from orpo.errors import ConfigError, DataError, NetworkError, OrpoError, ResourceError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

_PAGE = "https://huggingface.co/datasets/"
_BATCH = 1024
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def open_hub(spec: SourceSpec, role: Role) -> OpenSource:
    """A split of a Hub dataset, downloaded unless the cache has it.

    Raises:
        ConfigError: the configuration or the split does not exist.
        DataError: a split must be named, or the files of the dataset are damaged.
        NetworkError: not found, gated, or not reachable.
    """
    # Imported here: a second that runs on local files need not spend.
    from datasets import Dataset, load_dataset_builder
    from datasets.exceptions import DatasetsError

    # The base error of whichever HTTP client this version is built on: requests, httpx, httpx2.
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    try:
        builder = load_dataset_builder(
            spec.path, name=spec.config, data_dir=spec.data_dir, revision=spec.revision
        )
        _refuse_other_revision(builder, spec)
        if builder.info.splits is None:  # the dataset's card does not list them
            builder.download_and_prepare()
        splits = tuple(map(str, builder.info.splits or ()))
        split = choose_split(splits, role, spec.split, spec.path)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split)
        assert isinstance(dataset, Dataset), "one split is one dataset"
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
        raise _explained(error, spec) from error
    return OpenSource(
        name=spec.path,
        rows=dataset_rows(dataset, f"{spec.path}[{split}] "),
        split=split,
        splits=splits,
        fingerprint=f"hub:{builder.hash}:{dataset._fingerprint}",
        spec=replace(spec, split=split),
    )


def dataset_rows(dataset: Dataset, prefix: str) -> Iterator[Row]:
    """The rows of a `datasets.Dataset`, media left undecoded."""
    number = 0
    tables = cast("Iterator[pa.Table]", dataset.with_format("arrow").iter(_BATCH))
    for table in tables:
        for values in table.to_pylist():
            number += 1
            yield Row(f"{prefix}row {number}", values)


def _refuse_other_revision(builder: DatasetBuilder, spec: SourceSpec) -> None:
    """`datasets` takes whatever its cache has, the named revision or not, when it cannot fetch that one."""
    from datasets.packaged_modules.cache.cache import Cache

    if spec.revision is not None and isinstance(builder, Cache) and builder.hash != spec.revision:
        raise NetworkError(
            f"{spec.path}: revision {spec.revision!r} could not be fetched; the cache has {builder.hash}",
            hint=f"Go online, or set `revision: {builder.hash}` to use the cached one.",
        )


def _explained(error: Exception, spec: SourceSpec) -> OrpoError:
    """An error of `datasets` or of the connection, in terms of what the user can do."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    reason = _innermost(error)
    match error:
        case DatasetNotFoundError() if "gated" in str(error):
            return NetworkError(
                f"{spec.path}: this dataset is gated, and access has not been granted to this account",
                hint=f"Accept its terms at {_PAGE}{spec.path}, then run `hf auth login`.",
            )
        case DatasetNotFoundError() if "Revision" in str(error):
            return NetworkError(
                f"{spec.path}: the Hub has no revision {spec.revision!r} of it",
                hint=f"See {_PAGE}{spec.path}/commits/main for those that exist.",
            )
        case DatasetNotFoundError():
            return NetworkError(
                f"{spec.path}: no such file or folder here, nor a Hub dataset that this account can see",
                hint="Check the spelling; for a private dataset, run `hf auth login`.",
            )
        case DatasetsError():
            return DataError(f"{spec.path}: the dataset's files cannot be read: {reason}")
        case OSError() if error.errno in _STORAGE or "disk space" in reason:
            return ResourceError(
                f"{spec.path}: cannot be stored: {reason}",
                hint="Make room, or set HF_HOME to a folder with room that you may write to.",
            )
        case ValueError():
            return ConfigError(f"{spec.path}: {reason}", hint="Check `path`, `config` and `data_dir`.")
        case RuntimeError():
            return DataError(
                f"{spec.path}: {reason}",
                hint="The Hub's automatic conversion may do: set `revision: refs/convert/parquet`.",
            )
        case _:
            return NetworkError(
                f"{spec.path}: no such file or folder here, and the Hub cannot be reached: {reason}",
                hint="Check the spelling and the connection. Offline (HF_HUB_OFFLINE=1), only datasets that "
                "were downloaded before can be used.",
            )


def _innermost(error: BaseException) -> str:
    """The message of the error that started a chain of them."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip() or type(error).__name__
