"""Scores under the frozen reference: computed once, before training, so that no second model is held.

The reference is the model that training starts from; with adapters, the model without them.  What it makes of
the data is kept on disk, under a hash of its weights, of the type of the products and of the tokens.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from orpo.data.batching import Lengths, lengths_of
from orpo.data.mismatched import Mismatch, mismatched
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.evaluation.scoring import response_log_probs
from orpo.modeling.scorer import PairScorer, causal_model
from orpo.objectives import Objective
from orpo.ops.distributed import World
from orpo.training.batches import Batches
from orpo.training.budget import TokenBudget

log = logging.getLogger(__name__)

Pairs = TokenizedPairs | Sequence[TokenizedPair]


@dataclass(frozen=True)
class Reference:
    """Scores responses under the model as it is before training.

    Args:
        scorer: of the policy, before its first update.
        pad_id: fills padded rows.
        budget: tokens of a forward pass.
        world: this process among its peers.
        dtype: autocast type, or None.
        folder: where scores are kept; None: nowhere.
    """

    scorer: PairScorer
    pad_id: int
    budget: TokenBudget
    world: World
    dtype: torch.dtype | None
    folder: Path | None

    def score(self, pairs: Pairs) -> NDArray[np.float32]:
        """(N, 2) log-probabilities of chosen and rejected responses, 0 of missing ones; read if kept."""
        file = None if self.folder is None else self.folder / f"{self._key(pairs)}.safetensors"
        if file is not None and (known := _read(file, len(pairs))) is not None:
            log.info("reference scores of %d rows: read from %s", len(pairs), file)
            return known
        lengths = pairs.lengths if isinstance(pairs, TokenizedPairs) else lengths_of(pairs)
        scores = self._compute(pairs, lengths)
        if file is not None and self.world.is_main:
            file.parent.mkdir(parents=True, exist_ok=True)
            staged = file.with_suffix(".partial")
            save_file({"scores": scores}, staged)
            staged.replace(file)
        return scores

    def _compute(self, pairs: Pairs, lengths: Lengths) -> NDArray[np.float32]:
        def attempt(max_tokens: int, on_forward: Callable[[], None]) -> NDArray[np.float32]:
            return response_log_probs(
                self.scorer,
                pairs,
                lengths,
                pad_id=self.pad_id,
                max_tokens=max_tokens,
                world=self.world,
                dtype=self.dtype,
                on_forward=on_forward,
            )

        model = self.scorer.model
        training = model.training
        model.eval()
        try:
            with _without_adapters(self.scorer):
                return self.budget.fit(attempt, lambda: None, step=0, during="the reference's scoring")
        finally:
            model.train(training)

    def _key(self, pairs: Pairs) -> str:
        digest = hashlib.sha256(f"{self._weights}\0{self.dtype}\0".encode())
        for pair in pairs:
            for segment in (pair.prompt, pair.chosen, pair.rejected):
                digest.update(len(segment).to_bytes(4, "little"))
                digest.update(np.array(segment, dtype=np.int32).tobytes())
        return digest.hexdigest()

    @cached_property
    def _weights(self) -> str:
        """Hash of the reference's weights, by name."""
        digest = hashlib.sha256()
        for name, parameter in _reference_parameters(self.scorer):
            digest.update(f"{name}\0{parameter.dtype}\0{tuple(parameter.shape)}\0".encode())
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Referenced:
    """What is trained and evaluated on, with what the reference makes of it."""

    batches: Batches
    eval: TokenizedPairs | None
    eval_mismatch: Mismatch | None = None


def with_reference(
    batches: Batches,
    eval_pairs: TokenizedPairs | None,
    objective: Objective,
    reference: Reference,
    steps: int,
) -> Referenced:
    """Score all that an objective asks of its reference in `steps` optimizer steps and in evaluation.

    Raises:
        ResourceError: a single pair does not fit into memory.
    """
    weights = sum(parameter.nbytes for _, parameter in _reference_parameters(reference.scorer))
    log.info(
        "scoring under the reference, once, before training; a second model of %s MiB is not held",
        f"{weights / 2**20:,.0f}",
    )
    batches = replace(batches, pairs=batches.pairs.with_references(reference.score(batches.pairs)))
    if eval_pairs is not None:
        eval_pairs = eval_pairs.with_references(reference.score(eval_pairs))
    if not objective.needs_divergence:
        return Referenced(batches, eval_pairs)
    places = [divmod(step, batches.per_epoch) for step in range(steps)]
    rows: dict[tuple[int, int], list[TokenizedPair]] = {}
    for epoch in range(places[-1][0] + 1):
        for number, batch in enumerate(batches.epoch(epoch)):
            rows[epoch, number] = batches.mismatched(batch)
    scores = reference.score([pair for place in places for pair in rows[place]])[:, 0]
    ends = np.cumsum([len(rows[place]) for place in places])[:-1]
    sums = [float(part.sum(dtype=np.float64)) for part in np.split(scores, ends)]
    batches = replace(batches, mismatched_references=dict(zip(places, sums, strict=True)))
    if eval_pairs is None:
        return Referenced(batches, None)
    eval_rows = mismatched(list(eval_pairs), batches.max_length)
    eval_sum = float(reference.score(eval_rows)[:, 0].sum(dtype=np.float64))
    return Referenced(batches, eval_pairs, Mismatch(eval_rows, eval_sum))


def _reference_parameters(scorer: PairScorer) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters of the model without the adapters that training adds."""
    for name, parameter in causal_model(scorer.model).named_parameters():
        if not isinstance(scorer.model, PeftModel) or not parameter.requires_grad:
            yield name, parameter


def _without_adapters(scorer: PairScorer) -> AbstractContextManager[object]:
    return scorer.model.disable_adapter() if isinstance(scorer.model, PeftModel) else nullcontext()


def _read(file: Path, rows: int) -> NDArray[np.float32] | None:
    """The scores in a file; None if it is not there, or is not what it should be."""
    try:
        scores: NDArray[np.float32] = load_file(file)["scores"]
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, OSError) as error:
        log.warning("%s: unusable (%s); the reference scores are computed again", file, error)
        return None
    return scores if scores.shape == (rows, 2) else None
