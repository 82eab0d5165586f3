"""Failures of loading from a folder or the Hub, as one clear message each."""

from __future__ import annotations

import json
import logging
import shlex
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
from transformers import PreTrainedConfig

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
            f"model: no such folder: {name}",
            hint="Give a folder with config.json, or a Hub id like owner/name.",
        )
    try:
        yield str(Path(name).expanduser()) if local else name
    except OrpoError:
        raise
    except Exception as error:
        log.debug("loading %s failed", name, exc_info=True)
        raise _explained(error, what, name, revision) from None


def refuse_pickled_weights(name: str, config: PreTrainedConfig) -> None:
    """Refuse weights that are a pickle, which may run code when it is read.

    transformers is told to read safetensors only; it would still read a pickle that the model's configuration
    names.  Of a Hub model only the configuration is looked at; its files show when they are asked for.

    Args:
        name: folder or Hub id.
        config: of the model.

    Raises:
        ConfigError: names the file, and the command that converts it.
    """
    named = getattr(config, "transformers_weights", None)
    if named is not None and not str(named).endswith((".safetensors", ".safetensors.index.json")):
        raise ConfigError(
            f"refused: pickle: config.json of {name} names {named} as the weights (`transformers_weights`)",
            hint="Remove that key, or name a .safetensors file there.",
        )
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return
    files = {path.name for path in folder.iterdir()}
    if "adapter_config.json" in files and "adapter_model.safetensors" not in files:
        if _ADAPTER in files:
            raise _refused(name, f"the weights are in {_ADAPTER}", is_adapter=True)
    elif not any(file.endswith(".safetensors") for file in files):
        pickles = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt")))
        if pickles:
            raise _refused(name, f"the weights are in {pickles[0]}")


_ADAPTER = "adapter_model.bin"


def _refused(name: str, why: str, *, is_adapter: bool = False) -> ConfigError:
    return ConfigError(
        f"refused: pickle: {name}: {why}; pickles may run code when they are read, and never are",
        hint="If you trust who made them, convert them, on a machine where nothing is at stake, with\n"
        + conversion_command(name, is_adapter=is_adapter),
    )


def conversion_command(name: str, *, is_adapter: bool = False) -> str:
    """A line for a shell that writes the weights of `name` as safetensors.

    Args:
        name: a folder, which gets them beside the pickle; or a Hub id, which becomes a folder here.
        is_adapter: whether it is an adapter of PEFT's, in a folder.
    """
    if is_adapter:
        source, target = (
            json.dumps(str(Path(name) / file)) for file in (_ADAPTER, "adapter_model.safetensors")
        )
        program = f"import torch, safetensors.torch as s; s.save_file(torch.load({source}), {target})"
        return f"python -c {shlex.quote(program)}"
    target = name if looks_local(name) else name.rpartition("/")[2]
    steps = [
        "import transformers as t",
        f"n = {json.dumps(name)}; d = {json.dumps(target)}",
        "kind = getattr(t, t.AutoConfig.from_pretrained(n).architectures[0])",
        "kind.from_pretrained(n, use_safetensors=False).save_pretrained(d)",
        "t.AutoTokenizer.from_pretrained(n).save_pretrained(d)",
    ]
    return f"python -c {shlex.quote('; '.join(steps))}"


def _explained(error: Exception, what: str, name: str, revision: str | None) -> OrpoError:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if "cannot be loaded with `safetensors`" in str(error):
        return _refused(name, "there are no weights as .safetensors")
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
    folder = Path(name).expanduser()
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").exists():
        program = (
            "from peft import AutoPeftModelForCausalLM as M; from transformers import AutoTokenizer as T; "
            f"n, d = {json.dumps(name)}, 'merged'; "
            "M.from_pretrained(n).merge_and_unload().save_pretrained(d); "
            "T.from_pretrained(n).save_pretrained(d)"
        )
        return ConfigError(
            f"model: {name} is an adapter, not a model",
            hint="Train with model.lora.merge=true to get a whole model, or merge it with\n"
            f"python -c {shlex.quote(program)}",
        )
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ConfigError(
        f"the {what} at {name} cannot be loaded: {first_line}",
        hint="A model needs config.json, the tokenizer's files and whole weights as .safetensors.",
    )
