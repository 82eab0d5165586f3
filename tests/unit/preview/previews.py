"""Previews of pairs that are written as text, for the tests of what shows them."""

from __future__ import annotations

from dataclasses import dataclass

from orpo.batch import Layout
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import ShardBuilder, TokenizedPairs
from orpo.objectives import ORPO
from orpo.preview.pieces import Speller
from orpo.preview.terms import terms_of
from orpo.preview.view import Preview, Settings, examples_of, held_by, split_of
from tests.tiny import SPECIALS, byte_tokenizer

END = SPECIALS["</s>"]
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e[bold]x[/bold] &amp; \x00"

PAPER, TRL = ORPO(), ORPO(definition="trl")
EARLIER_ANSWERS = ORPO(nll_turns="all")


def ids(text: str) -> tuple[int, ...]:
    """A token for each byte."""
    return tuple(byte_tokenizer()(text, add_special_tokens=False)["input_ids"])


@dataclass(frozen=True)
class Texts:
    """A pair of which every byte is a token; a response of None is missing, and `cut` ones have no end."""

    prompt: str
    chosen: str | None
    rejected: str | None
    where: str = "rows.jsonl:1"
    weight: float = 1.0
    cut: bool = False
    answers: tuple[tuple[int, int], ...] = ()

    def tokenized(self) -> TokenizedPair:
        end = () if self.cut else (END,)
        chosen, rejected = (() if text is None else ids(text) + end for text in (self.chosen, self.rejected))
        return TokenizedPair(
            ids(self.prompt), chosen, rejected, self.where, self.weight, answers=self.answers
        )


def stored(pairs: list[TokenizedPair]) -> TokenizedPairs:
    """The pairs as prepared data holds them."""
    builder = ShardBuilder()
    for pair in pairs:
        builder.add(pair, END)
    return TokenizedPairs.of([builder.build()], sorted(builder.stop_ids))


def preview_of(*texts: Texts, objective: ORPO = PAPER, layout: Layout = Layout.SHARED) -> Preview:
    """The preview of pairs that are all shown."""
    pairs = [one.tokenized() for one in texts]
    batch = collate(pairs, layout, pad_id=0, prompt_tokens=objective.prompt_tokens)
    terms = terms_of(objective, batch)
    settings = Settings(
        model=HOSTILE,
        objective={"name": "orpo", "definition": objective.definition, "lambda": objective.lambda_},
        template="none",
        max_length=128,
        truncation="cut",
        layout=layout.value,
    )
    return Preview(
        settings=settings,
        split=split_of("train", stored(pairs)),
        held=held_by(batch, terms),
        examples=examples_of(pairs, batch, terms, Speller(byte_tokenizer()), [END]),
    )
