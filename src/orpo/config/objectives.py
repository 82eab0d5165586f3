"""The keys of `objective`: those of the one that `name` names.

The papers' symbols and defaults; the formulas are in `orpo.objectives`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, cast

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from orpo.config.section import NonNegativeFloat, PositiveFloat, Section

Smoothing = Annotated[float, Field(ge=0, lt=0.5)]


class NamedSection(Section):
    """One of several sections, told apart by `name`."""

    takes_responses_singly: ClassVar[bool] = False
    """Whether the objective learns from responses one by one, so that a labelled one needs no counterpart."""

    @model_validator(mode="after")
    def _keep_name(self) -> Self:
        """A name counts as given, so that what was given still says which section it is."""
        self.model_fields_set.add("name")
        return self


class ORPOSection(NamedSection):
    """ORPO: the supervised term plus a small penalty on the odds ratio (arXiv:2403.07691)."""

    name: Literal["orpo"] = "orpo"
    """The objective."""

    definition: Literal["paper", "trl"] = "paper"
    """Tokens and average of the supervised term: `paper` is the response, per row, then over rows; `trl` is
    prompt and chosen response, pooled over all tokens of the batch."""

    nll_turns: Literal["final", "all"] = "final"
    """Assistant's turns of a conversation that the supervised term covers with `definition: paper`: the final
    one, or all. The odds-ratio term is about the final turn in any case."""

    lambda_: Annotated[NonNegativeFloat, Field(alias="lambda")] = 0.1
    """Weight of the odds-ratio term (the paper uses 0.1 to 0.25; also known as alpha and beta). 0 is
    supervised fine-tuning on the chosen responses."""

    contrast: Literal["odds", "probability"] = "odds"
    """What the penalty is about: the ratio of odds, or of probabilities, which is the paper's ablation."""

    @field_validator("nll_turns")
    @classmethod
    def _has_meaning(cls, value: str, info: ValidationInfo) -> str:
        if value == "all" and info.data.get("definition") == "trl":
            raise ValueError("`definition: trl` covers every token of the conversation; expected final")
        return value


class SFTSection(NamedSection):
    """Supervised fine-tuning on the chosen responses; rejected ones are looked at in evaluation only."""

    name: Literal["sft"] = "sft"
    """The objective."""

    definition: Literal["paper", "trl"] = "paper"
    """Average over the tokens of responses: `paper` is per row, then over rows; `trl` is over all tokens of
    the batch."""

    nll_turns: Literal["final", "all"] = "final"
    """Assistant's turns of a conversation that are learnt: the final one, or all."""


class DPOSection(NamedSection):
    """DPO: the log-ratio to the model that training starts from is the reward (arXiv:2305.18290)."""

    name: Literal["dpo"] = "dpo"
    """The objective."""

    beta: PositiveFloat = 0.1
    """Strength of the tie to the reference."""

    label_smoothing: Smoothing = 0.0
    """Share of labels that are taken to be wrong."""


class IPOSection(NamedSection):
    """IPO: DPO with a squared loss on log-ratios averaged over tokens (arXiv:2310.12036)."""

    name: Literal["ipo"] = "ipo"
    """The objective."""

    beta: PositiveFloat = 0.1
    """The margin is drawn to 1 / (2 beta)."""


class SimPOSection(NamedSection):
    """SimPO: averaged log-probabilities are the reward, with a target margin (arXiv:2405.14734)."""

    name: Literal["simpo"] = "simpo"
    """The objective."""

    beta: PositiveFloat = 2.0
    """Scale of the reward."""

    gamma_beta_ratio: NonNegativeFloat = 0.5
    """Target margin over beta: gamma = beta * gamma_beta_ratio."""


class KTOSection(NamedSection):
    """KTO: responses are desirable or not, each by itself (arXiv:2402.01306)."""

    takes_responses_singly: ClassVar[bool] = True

    name: Literal["kto"] = "kto"
    """The objective."""

    beta: PositiveFloat = 0.1
    """Strength of the tie to the reference."""

    desirable_weight: PositiveFloat = 1.0
    """Weight of desirable responses."""

    undesirable_weight: PositiveFloat = 1.0
    """Weight of undesirable responses."""


class RewardSection(NamedSection):
    """A reward model: a scalar per response, from pairs (arXiv:2203.02155)."""

    name: Literal["reward"] = "reward"
    """The objective."""

    margin: NonNegativeFloat = 0.0
    """Difference of rewards that the loss asks for, beside that of the pair (`data.train.columns.margin`)."""

    center_rewards_coefficient: NonNegativeFloat = 0.0
    """Weight of a term that draws the sum of a pair's rewards to 0; 0.01 is usual."""


def _named(value: object) -> object:
    """Without a name it is ORPO."""
    return {"name": "orpo", **cast("dict[str, object]", value)} if isinstance(value, dict) else value


ObjectiveSection = Annotated[
    Annotated[
        ORPOSection | SFTSection | DPOSection | IPOSection | SimPOSection | KTOSection | RewardSection,
        Field(discriminator="name"),
    ],
    BeforeValidator(_named),
]
