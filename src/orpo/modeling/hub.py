"""Failures of loading from a folder or the Hub, as one clear message each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from orpo.errors import ConfigError, NetworkError, OrpoError

log = logging.getLogger(__name__)


def looks_local(name: str) -> bool:
    """Whether `name` can only mean a folder: it exists, or it is not of the form `owner/name`."""
    return Path(name).expanduser().exists() or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


@contextmanager
def loading(what: str, name: str, revision: str | None) -> Iterator[str]:
    """Turn what transformers and the Hub raise while loading `name` into errors with a hint.

    Yields the name to load: a folder with `~` expanded, or the Hub id.

    Args:
        what: `model` or `tokenizer`, for the message.
        name: folder or Hub id.
        revision: Hub revision, if any.
    """
    local = looks_local(name)
    if local and not Path(name).expanduser().is_dir():
        raise ConfigError(
            f"model.name: no such folder: {name}",
            hint="Give a folder with config.json, or a Hub id like owner/name.",
        )
    try:
        yield str(Path(name).expanduser()) if local else name
    except OrpoError:
        raise
    except Exception as error:
        log.debug("loading %s failed", name, exc_info=True)
        raise _explained(error, what, name, revision) from None


def _explained(error: Exception, what: str, name: str, revision: str | None) -> OrpoError:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if "trust_remote_code" in str(error):
        return ConfigError(
            f"the {what} {name} needs code from its repository, which is never run",
            hint="Use a model whose architecture is part of transformers.",
        )
    if caused_by(GatedRepoError):
        return NetworkError(
            f"the {what} {name} is gated",
            hint=f"Accept its terms at https://huggingface.co/{name}, then log in with `hf auth login`.",
        )
    if caused_by(RevisionNotFoundError):
        return ConfigError(f"the {what} {name} has no revision {revision}", hint="Check model.revision.")
    if caused_by(RepositoryNotFoundError):
        return NetworkError(
            f"the Hub has no {what} {name}, or it is private",
            hint="Check the name; for a private repository log in with `hf auth login`.",
        )
    if caused_by(OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, ConnectionError):
        return NetworkError(
            f"the {what} {name} is not in the local cache and the Hub could not be reached",
            hint="Check the connection, or give a local folder as model.name.",
        )
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ConfigError(
        f"the {what} at {name} cannot be loaded: {first_line}",
        hint="A model needs config.json, the tokenizer's files and whole weights as .safetensors.",
    )
