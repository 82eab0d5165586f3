"""Scores under the frozen reference: computed once, before training, so that no second model is held.

The reference is the model that training starts from; with adapters, the model without them.  What it makes
of the data is kept on disk, under a hash of its weights and configuration, of the type of the products and of
the tokens.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from orpo.batch import Rows
from orpo.data.mismatched import Mismatch, Mismatched, Scorable
from orpo.data.preparation import storing
from orpo.data.tokenized import TokenizedPairs
from orpo.data.usable import learnt
from orpo.evaluation.scoring import log_probs, score_responses
from orpo.files import replace_file
from orpo.modeling.scorer import PairScorer, evaluating, unwrapped
from orpo.objectives import Objective
from orpo.ops.distributed import World
from orpo.ops.sharded import whole
from orpo.training.batches import Batches
from orpo.training.budget import TokenBudget

log = logging.getLogger(__name__)


_SAYS_WHERE_IT_IS_FROM = ("_name_or_path", "transformers_version")
"""Keys of a model's configuration that change nothing in what it computes."""


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

    def score(self, pairs: Scorable) -> NDArray[np.float32]:
        """(N, 2) log-probabilities of chosen and rejected responses, 0 of missing ones; read if kept.

        Raises:
            ResourceError: a single pair does not fit into memory, or the folder cannot be written.
        """
        if self.folder is None:
            return self._compute(pairs)
        file = self.folder / f"{self._key(pairs)}.safetensors"
        known = _read(file, len(pairs))
        # Ranks may see different disks, and to compute takes all of them.
        if self.world.smallest(int(known is not None)):
            assert known is not None
            log.info("reference scores of %d rows: read from %s", len(pairs), file)
            return known
        scores = self._compute(pairs)
        if self.world.is_main:
            with storing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                replace_file(file, save({"scores": scores}))
        return scores

    def _compute(self, pairs: Scorable) -> NDArray[np.float32]:
        def attempt(max_tokens: int, on_forward: Callable[[], None]) -> NDArray[np.float32]:
            return score_responses(
                self.scorer,
                pairs,
                log_probs,
                pad_id=self.pad_id,
                max_tokens=max_tokens,
                world=self.world,
                dtype=self.dtype,
                on_forward=on_forward,
            )

        with evaluating(self.scorer.model), _without_adapters(self.scorer):
            return self.budget.fit(attempt, lambda: None, step=0, during="the reference's scoring")

    def _key(self, pairs: Scorable) -> str:
        digest = hashlib.sha256(f"{self._weights}\0{self.dtype}\0".encode())
        for pair in pairs:
            for segment in (pair.prompt, pair.chosen, pair.rejected):
                digest.update(len(segment).to_bytes(4, "little"))
                digest.update(np.array(segment, dtype=np.int32).tobytes())
        return digest.hexdigest()

    @cached_property
    def _weights(self) -> str:
        """Hash of the reference's weights by name, and of what its configuration says of how to use them."""
        config = unwrapped(self.scorer.model).config.to_dict()
        told = {key: value for key, value in config.items() if key not in _SAYS_WHERE_IT_IS_FROM}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
        for name, parameter in _reference_parameters(self.scorer):
            digest.update(f"{name}\0{parameter.dtype}\0{tuple(parameter.shape)}\0".encode())
            digest.update(whole(parameter.detach()).cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
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
    epochs = map(batches.indices, range(places[-1][0] + 1))
    indices = list(islice(chain.from_iterable(epochs), steps))
    scores = reference.score(Mismatched.of(batches.pairs, indices, batches.max_length))[:, 0]
    ends = np.cumsum([len(batch) for batch in indices])[:-1]
    sums = map(_sum, np.split(scores, ends))
    batches = replace(batches, mismatched_references=dict(zip(places, sums, strict=True)))
    if eval_pairs is None:
        return Referenced(batches, None)
    responses = learnt(eval_pairs, Rows.RESPONSES)
    rows = Mismatched.of(responses, [np.arange(len(responses))], batches.max_length)
    return Referenced(batches, eval_pairs, Mismatch(rows, _sum(reference.score(rows)[:, 0])))


def _sum(values: NDArray[np.float32]) -> float:
    return float(values.sum(dtype=np.float64))


def _reference_parameters(scorer: PairScorer) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters of the model without the adapters that training adds."""
    for name, parameter in unwrapped(scorer.model).named_parameters():
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
