"""The preview, top to bottom: prepare the data as training does, lay examples out, read them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from orpo.batch import Layout
from orpo.config import RunConfig
from orpo.data.collate import collate
from orpo.data.tokenized import TokenizedPairs
from orpo.errors import ConfigError, DataError
from orpo.modeling.load import load_without_weights
from orpo.modeling.padding import padding_id
from orpo.preview.pieces import Speller
from orpo.preview.terms import terms_of
from orpo.preview.view import Preview, Settings, examples_of, held_by, split_of
from orpo.run.data import PreparedData, prepare_data
from orpo.run.model import build_objective, kind_of_model


@dataclass(frozen=True)
class Choice:
    """Which examples to show, and how.

    Args:
        split: of which data.
        count: how many of the first ones.
        rows: origins to show instead, such as `train.jsonl:17`.
        layout: of the tensors; None is the one that training would use.
    """

    split: Literal["train", "eval"] = "train"
    count: int = 3
    rows: tuple[str, ...] = ()
    layout: Literal["shared", "packed", "padded"] | None = None


def preview(config: RunConfig, choice: Choice, console: Console | None = None) -> Preview:
    """What training on `config` would give the model of some examples.  No weights are loaded.

    Args:
        config: of a run.
        choice: which examples.
        console: where to show progress; None shows none.

    Raises:
        ConfigError: there is no such split; or see `prepare_data`.
        DataError: a row is not there; or see `prepare_data`.
        NetworkError: the Hub cannot be reached.
    """
    objective = build_objective(config.objective)
    source = load_without_weights(
        config.model.name, revision=config.model.revision, kind=kind_of_model(objective)
    )
    data = prepare_data(config.data, objective, source, config.training.seed, None, None, console)
    pairs = _pairs(data, choice.split)
    chosen = [pairs[i] for i in _indices(pairs, choice)]
    layout = _layout(choice.layout or config.training.layout)
    batch = collate(
        chosen, layout, pad_id=padding_id(source.tokenizer), prompt_tokens=objective.prompt_tokens
    )
    terms = terms_of(objective, batch)
    return Preview(
        settings=_settings(config, data, layout),
        split=split_of(choice.split, pairs),
        held=held_by(batch, terms),
        examples=examples_of(chosen, batch, terms, Speller(source.tokenizer), pairs.stop_ids),
    )


def _pairs(data: PreparedData, split: Literal["train", "eval"]) -> TokenizedPairs:
    pairs = data.train if split == "train" else data.eval
    if pairs is None:
        raise ConfigError(
            "--split: there is no eval data, and data.eval is not set",
            hint="Set data.eval to a source or a fraction.",
        )
    return pairs


def _indices(pairs: TokenizedPairs, choice: Choice) -> list[int]:
    """The examples to show, in the order of the data, or of the rows that were asked for."""
    if not choice.rows:
        return list(range(min(choice.count, len(pairs))))
    origins = pairs.where()
    found = {row: [i for i, where in enumerate(origins) if _is_named(where, row)] for row in choice.rows}
    if missing := [row for row, indices in found.items() if not indices]:
        raise DataError(
            f"--row: no {choice.split} example comes from {', '.join(missing)}",
            hint=f"Rows are named as in {origins[0]}, and folders may be left out. This one may have been "
            "dropped, which the counts above tell, or be in the other split.",
        )
    return [i for indices in found.values() for i in indices]


def _is_named(where: str, row: str) -> bool:
    """Whether `row` names this origin, with its folders or without."""
    return where == row or where.endswith(f"/{row}")


def _layout(setting: str) -> Layout:
    """The layout of a run, as far as it can be told without the model: `auto` tries shared first."""
    return Layout.SHARED if setting == "auto" else Layout(setting)


def _settings(config: RunConfig, data: PreparedData, layout: Layout) -> Settings:
    return Settings(
        model=config.model.name,
        objective=config.objective.model_dump(by_alias=True),
        template=data.template.name,
        max_length=data.max_length,
        truncation=config.data.truncation,
        layout=layout.value,
    )
