"""A configuration as it is recorded when rows in memory take the place of its sources."""

from __future__ import annotations

from orpo.config import LoadedConfig, SourceSection
from orpo.data.spec import IN_MEMORY

_PLACE = {"path", "config", "data_dir", "split", "revision"}
"""The keys of a source that say where it is."""


def with_rows_in_memory(loaded: LoadedConfig, *, train: bool, eval_: bool) -> LoadedConfig:
    """The configuration as it is recorded: a source that rows in memory replace is not named.

    What says how to read a single source applies to the rows that replace it.
    """
    data, origins = loaded.config.data, dict(loaded.provenance)
    for use in [use for use, given in (("train", train), ("eval", eval_)) if given]:
        source, replaced = SourceSection(path=IN_MEMORY), set(SourceSection.model_fields)
        named = getattr(data, use)
        if isinstance(named, tuple) and len(named) == 1:
            source, replaced = named[0], _PLACE
        memory = source.model_copy(update=dict.fromkeys(_PLACE) | {"path": IN_MEMORY})
        data = data.model_copy(update={use: (memory,)})
        origins = {key: origin for key, origin in origins.items() if not _is_of(key, use, replaced)}
        origins |= {f"data.{use}.{name}": "train()" for name in replaced}
    return LoadedConfig(loaded.config.model_copy(update={"data": data}), origins)


def _is_of(key: str, use: str, names: set[str]) -> bool:
    """Whether a key is one of `names` of the source of a use, or of a list of them, or in place of it."""
    section, _, rest = key.removeprefix("data.").partition(".")
    name = rest.partition(".")[0]
    return key.startswith("data.") and section == use and (name in names or not rest or name.isdigit())
