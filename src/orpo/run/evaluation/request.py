"""What is asked of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orpo.chat.service import Service
from orpo.evaluation.embedders import HASHED
from orpo.run.evaluation.subject import Dtype

NEW_TOKENS = 512
"""Most tokens of a response, unless the request says otherwise."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is asked of one evaluation."""

    target: str
    """A run directory, or the folder or Hub id of a model; its name at the service, if there is one."""

    service: Service | None = None
    """A server that generates, in place of a model in this process."""

    revision: str | None = None
    """Of a model on the Hub."""

    pairs: str | None = None
    """A source of pairs; None: those that the run held out."""

    prompts: Path | None = None
    """A file of prompts; None: those of the pairs."""

    output: Path | None = None
    """None: `evaluation/` of the run, or `evaluations/NAME`."""

    max_length: int | None = None
    """Tokens of prompt + response of a pair; None: as in training, or 2048."""

    template: str = "auto"
    """Of a model that is no run: see `data.template`."""

    dtype: Dtype = "auto"
    """Type of the weights and the products; `auto`: as in training, or what suits the device."""

    max_prompts: int | None = None
    """Respond to the first so many."""

    samples: int = 1
    """Of each prompt; 0 generates nothing."""

    max_new_tokens: int | None = None
    """None: 512, or half of the model's positions if they are fewer than twice that."""

    temperature: float = 0.0
    """0 takes the likeliest token."""

    top_p: float = 1.0
    """Sample from the likeliest tokens that together have at least this probability."""

    seed: int = 0
    """Of the samples."""

    batch_size: int = 64
    """Responses that are made together, which changes memory and speed only."""

    embedder: str = HASHED
    """Of the figures of diversity; see `load_embedder`."""

    overwrite: bool = False
    """Whether what an evaluation with other settings has left may be removed."""

    command: str = ""
    """For the record."""
