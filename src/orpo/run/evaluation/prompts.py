"""The prompts that a model is asked: those of a file, or those of the pairs that it is evaluated on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orpo.data.pairs import RowCounts
from orpo.data.prompts import PromptRow, read_prompts
from orpo.data.templates import Template
from orpo.errors import DataError
from orpo.evaluation.generation import Decoding
from orpo.modeling.padding import padding_id
from orpo.run.evaluation.held_out import EvaluationPairs, HeldOut, prompts_of
from orpo.run.evaluation.responses import RenderedPrompt, render, stop_ids
from orpo.run.evaluation.subject import EvaluatedModel
from orpo.rundir.evaluations import DataUsed
from orpo.rundir.records import Scalar

OVER_LIMIT = "over max_prompts"


@dataclass(frozen=True)
class PromptSource:
    """Prompts, before a model is given them."""

    name: str
    rows: Sequence[PromptRow]
    counts: RowCounts


@dataclass(frozen=True)
class Asked:
    """What a model in this process is asked, and how it responds."""

    prompts: Sequence[RenderedPrompt]
    decoding: Decoding
    used: DataUsed
    template: Template

    @property
    def settings(self) -> dict[str, Scalar]:
        """What of it the responses depend on."""
        return {
            "max_new_tokens": self.decoding.max_new_tokens,
            "temperature": self.decoding.temperature,
            "top_p": self.decoding.top_p,
            "stop_ids": ", ".join(map(str, self.decoding.stop_ids)),
            "prompt_template": self.template.name,
            "prompt_template_sha256": self.template.sha256,
            "prompts_sha256": fingerprint([[prompt.index, prompt.text] for prompt in self.prompts]),
        }


def fingerprint(content: object) -> str:
    """Hash of plain data."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def prompts_in(path: Path) -> PromptSource:
    """The prompts of a file; see `read_prompts`."""
    rows, counts = read_prompts(path)
    return PromptSource(str(path), rows, counts)


def prompts_under(held_out: HeldOut, pairs: EvaluationPairs) -> PromptSource:
    """The prompts of pairs, each once, in the order in which they first come."""
    found = prompts_of(held_out, pairs.tokens)
    keys = dict.fromkeys(pairs.tokens.prompt_keys())
    rows = [PromptRow(found[key]) for key in keys]
    return PromptSource(pairs.used.source, rows, RowCounts(read=len(rows), kept=len(rows)))


def ask(
    subject: EvaluatedModel,
    source: PromptSource,
    template: Template,
    *,
    max_prompts: int | None,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
) -> Asked:
    """Prompts as the model is given them, with the account of the rest.

    Raises:
        DataError: the model can respond to none of them.
        ConfigError: see `render`.
    """
    rows = source.rows[:max_prompts]
    rendered, dropped = render(subject, rows, template, max_new_tokens)
    used = account(source, len(rendered), dropped)
    if not rendered:
        reasons = "; ".join(f"{number} {reason}" for reason, number in used.dropped.items())
        raise DataError(
            f"{source.name}: the model can respond to none of {used.read} prompts: {reasons}",
            hint="Allow fewer new tokens with --max-new-tokens, or name other prompts with --prompts.",
        )
    decoding = Decoding(
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids(subject, rows[0], template),
        pad_id=padding_id(subject.tokenizer),
        temperature=temperature,
        top_p=top_p,
    )
    return Asked(rendered, decoding, used, template)


def account(source: PromptSource, count: int, dropped: Counter[str]) -> DataUsed:
    """What became of every prompt of a source.

    Args:
        source: of the prompts.
        count: prompts that are used.
        dropped: others, by reason, beside those over the limit.
    """
    over = Counter({OVER_LIMIT: len(source.rows) - count - dropped.total()})
    return DataUsed(
        source=source.name,
        read=source.counts.read,
        count=count,
        dropped=dict((source.counts.dropped + dropped + over).most_common()),
    )
