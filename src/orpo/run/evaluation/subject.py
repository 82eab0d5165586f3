"""What is evaluated: the model of a run, or any other one, with all that says how it is spoken to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from orpo.batch import PromptTokens, Rows
from orpo.config import DataSection, SourceSection, load_config
from orpo.data.max_length import resolve_max_length
from orpo.data.pairs import Prompt
from orpo.data.preparation import Tokenization
from orpo.data.templates import Template, own_template, recorded_template, resolve_template
from orpo.data.tokens import Truncation
from orpo.files import sha256_of
from orpo.modeling.hub import looks_local
from orpo.modeling.kinds import LANGUAGE_MODEL, ModelKind
from orpo.modeling.load import load_model
from orpo.modeling.scorer import unwrapped
from orpo.ops.precision import autocast_dtype
from orpo.run.evaluation.held_out import HeldOut
from orpo.run.model import build_objective, kind_of_model
from orpo.run.result import Model, load_trained
from orpo.rundir import RunDirectory
from orpo.rundir.directory import CONFIG, DEFINITION
from orpo.rundir.evaluations import Subject
from orpo.rundir.records import read_run

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_FILES = ("*.safetensors", "*.json", "*.jinja")
"""Of a local model, that decide what it says."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model in evaluation mode on its device."""

    of: Subject
    model: Model
    tokenizer: PreTrainedTokenizerBase
    kind: ModelKind
    dtype: torch.dtype | None
    """Autocast type, or None."""

    max_length: int
    truncation: Truncation
    template: Template | None
    """That the model was trained with; None if nobody said."""

    choice: str
    """Of a template, where nobody said; as `data.template`."""

    held_out: HeldOut | None
    """The pairs that its run held out; None of no run, or of one that held out none."""

    own: HeldOut
    """How pairs of another source are read."""

    @property
    def positions(self) -> int | None:
        """Tokens that the model has positions for, if its configuration says so."""
        return getattr(unwrapped(self.model).config, "max_position_embeddings", None)

    def tokenization(self, held_out: HeldOut, prompts: Iterable[Prompt]) -> Tokenization:
        """How pairs become tokens; as in training, if there was one.

        Args:
            held_out: the pairs.
            prompts: the first of them.
        """
        template = self.template or resolve_template(self.tokenizer, self.choice, prompts)
        return Tokenization(
            template=template,
            max_length=self.max_length,
            truncation=self.truncation,
            finds_answers=held_out.finds_answers,
        )

    def prompt_template(self, prompts: Iterable[Prompt]) -> Template:
        """The template for prompts of their own: a text is what a user says, if the model has a template.

        Args:
            prompts: all of them.
        """
        given = list(prompts)
        if self.template is not None and self.template.text is not None:
            return replace(self.template, wraps_text=True)
        if self.template is not None and all(isinstance(prompt, str) for prompt in given):
            return self.template
        if self.choice == "auto" and self.tokenizer.chat_template is not None:
            return Template("model", own_template(self.tokenizer), wraps_text=True)
        return resolve_template(self.tokenizer, self.choice, given)


def is_run(target: str) -> bool:
    """Whether this is the directory of a run, rather than a model."""
    return all((Path(target).expanduser() / name).is_file() for name in (CONFIG, DEFINITION))


def load_run(target: str, device: torch.device, *, max_length: int | None, dtype: Dtype) -> EvaluatedModel:
    """The model of a run, to be spoken to as it was trained.

    Args:
        target: the run directory.
        device: where the model goes.
        max_length: tokens of prompt + response; None: those of the run.
        dtype: type of the weights and of the products; `auto`: those of the run.

    Raises:
        ConfigError, DataError: it is not what a run writes.
        CheckpointError: it has no model, or not the template that it was trained with.
    """
    path = Path(target).expanduser()
    records, config = read_run(path), load_config(path / CONFIG).config
    if dtype != "auto":
        config = config.model_copy(update={"model": config.model.model_copy(update={"dtype": dtype})})
    model, tokenizer = load_trained(RunDirectory(path), config)
    objective = build_objective(config.objective)
    held_out = HeldOut(
        data=config.data,
        seed=config.training.seed,
        keep_unpaired=objective.rows is Rows.RESPONSES,
        finds_answers=objective.prompt_tokens is PromptTokens.ANSWERS,
    )
    return EvaluatedModel(
        of=Subject(
            kind="run",
            name=path.resolve().name,
            path=target,
            url=None,
            step=records.summary.model_step if records.summary is not None else None,
            revision=None,
            fingerprint=_fingerprint(path / "model"),
        ),
        model=_on(model, device),
        tokenizer=tokenizer,
        kind=kind_of_model(objective),
        dtype=autocast_dtype(config.training.precision, device) if dtype == "auto" else None,
        max_length=max_length or records.definition.data.max_length,
        truncation=config.data.truncation,
        template=recorded_template(
            tokenizer,
            records.definition.template.name,
            records.definition.template.sha256,
            wraps_text=config.data.template not in ("auto", "none"),
        ),
        choice="auto",
        held_out=held_out if config.data.eval is not None else None,
        own=held_out,
    )


def load_other(
    target: str,
    device: torch.device,
    *,
    revision: str | None,
    template: str,
    max_length: int | None,
    dtype: Dtype,
) -> EvaluatedModel:
    """A causal language model in a folder or on the Hub.

    Args:
        target: folder or Hub id.
        device: where the model goes.
        revision: on the Hub.
        template: see `resolve_template`.
        max_length: tokens of prompt + response; None: 2048, or the model's positions if fewer.
        dtype: type of the weights and of the products; `auto`: bfloat16 on a GPU that has it, else float32.

    Raises:
        ConfigError, NetworkError: see `load_model`.
    """
    is_wide = autocast_dtype("auto", device) is None
    loaded = load_model(
        target,
        revision=revision,
        dtype=("float32" if is_wide else "bfloat16") if dtype == "auto" else dtype,
        kind=LANGUAGE_MODEL,
    )
    is_local = looks_local(target)
    path = Path(target).expanduser()
    return EvaluatedModel(
        of=Subject(
            kind="model",
            name=path.resolve().name if is_local else target,
            path=target,
            url=None,
            step=None,
            revision=loaded.commit,
            fingerprint=_fingerprint(path) if is_local else None,
        ),
        model=_on(loaded.model, device),
        tokenizer=loaded.tokenizer,
        kind=LANGUAGE_MODEL,
        dtype=None,
        max_length=resolve_max_length(max_length or "auto", loaded.max_positions),
        truncation="cut",
        template=None,
        choice=template,
        held_out=None,
        own=HeldOut(DataSection(train=(SourceSection(path=""),), template=template), seed=0),
    )


def _on(model: Model, device: torch.device) -> Model:
    return model.to(device).eval()  # type: ignore[arg-type]


def _fingerprint(folder: Path) -> str:
    files = sorted({file for pattern in _FILES for file in folder.glob(pattern)})
    hashes = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(hashes.encode()).hexdigest()
