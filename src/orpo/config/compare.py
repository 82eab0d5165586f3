"""The section of `orpo compare`, beside those of a run."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from orpo.config.schema import RunConfig
from orpo.config.section import NonNegativeFloat, PositiveInt, Section

BASE = "base"
"""The name of the model before training, which every comparison includes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def _file_name(value: str) -> str:
    if not _NAME.fullmatch(value) or value == BASE:
        raise ValueError(
            "expected a name of letters, digits, `.`, `_` and `-`, at most 60, "
            f"and not `{BASE}`; got {value!r}"
        )
    return value


def _different(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a seed is given twice")
    return values


class SystemSection(Section):
    """One of the ways to train that are compared. What is not named here is as in the rest of the file."""

    name: Annotated[str, AfterValidator(_file_name)]
    """What it is called, and its folder."""

    after: str | None = None
    """Name of the system whose model this one starts from, such as `sft`. Each of the two phases has half of
    the budget."""

    objective: dict[str, object] | None = None
    """Instead of `objective`. A list of values, such as `lambda: [0.1, 1.0]`, makes a system of each."""

    training: dict[str, object] | None = None
    """Keys of `training` with values of this system's own, such as `learning_rate`; lists as above."""


class EvaluationSection(Section):
    """How the trained models are evaluated."""

    prompts: str | None = None
    """A file of prompts to respond to. Absent: those of the held-out pairs."""

    max_prompts: Annotated[int, Field(ge=2)] = 40
    """At most so many of them, the first."""

    samples: PositiveInt = 4
    """Responses to each prompt, with each seed. Diversity needs two."""

    temperature: NonNegativeFloat = 1.0
    """Of sampling."""

    max_new_tokens: PositiveInt = 256
    """Most tokens of a response."""

    embedder: str = "hashed"
    """What makes vectors of responses for diversity: `hashed`, runs of characters, or an encoder, as for
    `orpo eval`."""


class JudgeSection(Section):
    """The reward model that prefers one response to another: one that exists, or one that is trained first,
    on pairs that no system is trained on."""

    model: str | None = None
    """Folder, run directory or Hub id of a reward model."""

    data: dict[str, object] | None = None
    """Instead of keys of `data`, at least `train`: the pairs to train a judge on."""

    training: dict[str, object] | None = None
    """Keys of `training` with values of the judge's own, `epochs` or `max_steps` among them."""

    objective: dict[str, object] | None = None
    """Coefficients of `objective` with `name: reward`."""


class CompareSection(Section):
    """What `orpo compare` compares."""

    budget: PositiveInt
    """Visits of pairs with a gradient that each system has in all, its first phase included."""

    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**31)], ...],
        Field(min_length=1, strict=False),
        AfterValidator(_different),
    ] = (1, 2, 3)
    """Every system is trained once with each."""

    systems: Annotated[tuple[SystemSection, ...], Field(min_length=1, strict=False)]
    """What is compared, in the order of tables."""

    evaluation: EvaluationSection = EvaluationSection()
    """Of every trained model, and of the one before training."""

    judge: JudgeSection | None = None
    """Who says which response is better; absent: nobody, and there are no win rates."""


class CompareConfig(RunConfig):
    """The configuration of a run, and what is compared."""

    compare: CompareSection
    """The systems, and what they share; it is what makes a configuration of a run one of a comparison."""
