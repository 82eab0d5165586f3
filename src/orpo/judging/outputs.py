"""Outputs of several models on the same prompts, matched by instruction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, ConfigDict, Field

from orpo.errors import DataError
from orpo.formats.records import Record, read_records
from orpo.text import printable

_EXCERPT = 80
_MOST_NAMES = 3


class Output(Record):
    """A model's response to one instruction."""

    what = "an output of a model"

    # Other fields, such as sampling settings, are not needed here.
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    instruction: str = Field(validation_alias=AliasChoices("instruction", "prompt"))
    output: str
    generator: str | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class System:
    """A model by its responses."""

    name: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Item:
    """What two models responded to one instruction."""

    instruction: str
    model: str
    """The response of the model that is asked about."""

    baseline: str
    """The response of the one that it is compared with."""

    dataset: str | None = None


@dataclass(frozen=True)
class Matching:
    """The items of two models, and what is in one of them only."""

    items: tuple[Item, ...]
    only_model: tuple[str, ...]
    """Instructions."""

    only_baseline: tuple[str, ...]


def read_system(path: Path) -> System:
    """The outputs of one model: AlpacaEval's `model_outputs`, or rows with `prompt` and `output`.

    The model's name is the `generator` of the rows, else that of the file.

    Raises:
        DataError: it is not such a file, or holds outputs of several models.
    """
    outputs = read_records(path, Output)
    names = sorted({one.generator or path.stem for one in outputs})
    if len(names) > 1:
        shown = ", ".join(printable(name, _EXCERPT) for name in names[:_MOST_NAMES])
        raise DataError(
            f"{path}: expected outputs of one model, got {len(names)} (`generator`: {shown})",
            hint="Make one file for each model.",
        )
    return System(names[0], tuple(outputs))


def match(model: System, baseline: System) -> Matching:
    """Bring together what two models responded to the same instruction.

    Several outputs for one instruction are matched in their order.

    Raises:
        DataError: they have no instruction in common.
    """
    waiting: defaultdict[str, list[Output]] = defaultdict(list)
    for output in reversed(baseline.outputs):
        waiting[output.instruction].append(output)
    items: list[Item] = []
    only_model: list[str] = []
    for output in model.outputs:
        if others := waiting[output.instruction]:
            dataset = output.dataset or others[-1].dataset
            items.append(Item(output.instruction, output.output, others.pop().output, dataset))
        else:
            only_model.append(output.instruction)
    if not items:
        raise DataError(
            f"{printable(model.name, _EXCERPT)} and {printable(baseline.name, _EXCERPT)} have no instruction "
            f"in common: {len(model.outputs)} and {len(baseline.outputs)} outputs, such as "
            f"{_quoted(model.outputs[0].instruction)} and {_quoted(baseline.outputs[0].instruction)}",
            hint="Instructions are matched letter by letter.",
        )
    only_baseline = [one.instruction for left in waiting.values() for one in reversed(left)]
    return Matching(tuple(items), tuple(only_model), tuple(only_baseline))


def require_names(systems: Sequence[System], paths: Sequence[Path]) -> None:
    """Refuse models that could not be told apart.

    Raises:
        DataError: two have the same name.
    """
    seen: dict[str, Path] = {}
    for system, path in zip(systems, paths, strict=True):
        if other := seen.get(system.name):
            raise DataError(
                f"{path} and {other}: both are outputs of {printable(system.name, _EXCERPT)}",
                hint="Give them different `generator` names, or files of different names without it.",
            )
        seen[system.name] = path


def _quoted(text: str) -> str:
    return repr(printable(text, _EXCERPT))
