"""What the files of an evaluation hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from orpo.rundir.checked import Count, Record
from orpo.rundir.directory import SCHEMA_VERSION
from orpo.rundir.records import Assessment, Scalar


class Figure(Record):
    """A value with its 95 % interval."""

    value: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat] | None = Field(strict=False)
    """None where there is none, such as of a single prompt."""

    method: str | None
    """How the interval was found, and over what."""


class Subject(Record):
    """What was evaluated."""

    kind: Literal["run", "model", "server"]
    name: str
    """For people: of the run directory, of the model, or of the model at the server."""

    path: str | None
    """Run directory, folder or Hub id of the model."""

    url: str | None
    """Of the server."""

    step: Count | None
    """Of the run, that the model is of."""

    revision: str | None
    """Commit on the Hub."""

    fingerprint: str | None
    """Hash of the files of a local model, so that another one in the same place is told apart."""


class DataUsed(Record):
    """Pairs or prompts, and what became of the rest."""

    source: str
    read: Count
    count: Count
    """Used."""

    dropped: dict[str, Count]
    """By reason."""


class Data(Record):
    """What was evaluated on."""

    pairs: DataUsed | None
    prompts: DataUsed | None


class PairFigures(Record):
    """Means over pairs.  Of a language model by length-averaged log-probabilities, of a reward model by
    rewards."""

    count: Count
    accuracy: Figure
    """Share of pairs whose chosen response is the likelier, or better, one."""

    margin: Figure
    """Chosen minus rejected."""

    log_odds: Figure | None
    """Of the chosen over the rejected response; None of a reward model."""

    logps_chosen: Figure | None
    logps_rejected: Figure | None
    """None of a reward model."""

    rewards_chosen: Figure | None
    rewards_rejected: Figure | None
    """None of a language model."""


class SourceFigures(PairFigures):
    """The pairs of one source."""

    name: str


class LengthFigures(PairFigures):
    """The pairs whose longer response has a number of tokens between two bounds."""

    bounds: tuple[Count, Count] = Field(strict=False)
    """Smallest and largest, both included."""


class PairsEvaluation(PairFigures):
    """All pairs, and parts of them."""

    by_source: tuple[SourceFigures, ...] = Field(strict=False)
    by_length: tuple[LengthFigures, ...] = Field(strict=False)


class Spent(Record):
    """What responses of a server have cost, those of earlier calls too."""

    prompt_tokens: Count
    completion_tokens: Count
    answers_without_tokens: Count
    """For which the server did not say."""

    cost: FiniteFloat | None
    """None without prices."""


class GenerationEvaluation(Record):
    """What became of the prompts."""

    prompts: Count
    samples: Count
    """Of each prompt."""

    responses: Count
    failed: Count
    """Prompts, or samples of them, that a server would not answer."""

    truncated: Figure
    """Share that the limit of tokens cut off."""

    empty: Figure
    """Share without text."""

    mean_tokens: Figure | None
    """None where the server does not count them."""

    mean_characters: Figure
    spent: Spent | None
    """None of a model in this process."""


class DiversityEvaluation(Record):
    """How alike responses are; docs/evaluation.md says how each figure is computed."""

    embedder: str
    comparable_with_paper: bool
    per_input: Figure
    """Mean cosine between samples of a prompt."""

    across_inputs: Figure | None
    """Mean cosine between first samples of different prompts; None of fewer than three."""

    distinct_n: dict[str, Figure]
    """By n: different n-grams over all n-grams of a prompt's samples."""

    self_bleu: Figure


class EvaluationRecord(Record):
    """evaluation.json"""

    schema_version: int = SCHEMA_VERSION
    status: Literal["unfinished", "finished"]
    of: Subject
    command: str
    """That began it."""

    versions: dict[str, str]
    settings: dict[str, Scalar]
    """What responses and scores depend on, beside model and data."""

    data: Data
    pairs: PairsEvaluation | None = None
    assessment: Assessment | None = None
    """Of a reward model."""

    generation: GenerationEvaluation | None = None
    diversity: DiversityEvaluation | None = None
    """None of fewer than two samples."""


class PairSide(Record):
    """A response of a pair; the reward of a reward model, else the other two."""

    tokens: Count
    logp: FiniteFloat | None = None
    """Mean over tokens."""

    logp_sum: FiniteFloat | None = None
    reward: FiniteFloat | None = None


class PairRow(Record):
    """A row of pairs.jsonl."""

    index: Count
    source: str
    where: str
    """Its place in the source."""

    prompt: str
    """As the model reads it."""

    chosen: PairSide
    rejected: PairSide


class ResponseRow(Record):
    """A row of responses.jsonl."""

    prompt_index: Count
    sample: Count
    instruction: str
    """What the user says last."""

    prompt: str
    """As the model reads it; of a server, the messages as JSON."""

    response: str
    tokens: Count | None = None
    """None where a server does not say."""

    truncated: bool
    """Cut off by the limit of tokens."""

    prompt_tokens: Count | None = None
    """As a server counts them."""
