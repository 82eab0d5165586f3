"""Why a step's numbers were not finite: each of its pairs computed again, alone, with the weights it had.

Nothing was updated, so the weights are those of the step.  Ordinary steps keep nothing for this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from orpo.batch import Totals
from orpo.errors import NumericsError
from orpo.ops.distributed import World
from orpo.ops.means import WeightedMeans, weighted
from orpo.ops.sharded import whole
from orpo.training.batches import Batches
from orpo.training.guard import Judged
from orpo.training.sharding import is_sharded
from orpo.training.step import GradientStep

_NAMED = 5
"""Rows that a message names; the file has all."""


@dataclass(frozen=True)
class Failure:
    """A step that ended a run."""

    judged: Judged

    seen: Mapping[str, float]
    """Means of the step's metrics, and the norm of its gradient, as they came out."""

    alone: Sequence[Mapping[str, float]]
    """The same of each pair, in the order of the batch, computed alone."""

    @property
    def _culprits(self) -> list[int]:
        return [i for i, terms in enumerate(self.alone) if not all(map(math.isfinite, terms.values()))]

    def record(self) -> dict[str, Any]:
        """What failure.json holds; numbers that are not finite are strings."""
        pairs = self.judged.batch.pairs
        return {
            "step": self.judged.step,
            "seen": _plain(self.seen),
            "not_finite_alone": [pairs[i].where for i in self._culprits],
            "pairs": [
                {
                    "row": pair.where,
                    "weight": pair.weight,
                    "tokens": {
                        "prompt": len(pair.prompt),
                        "chosen": len(pair.chosen),
                        "rejected": len(pair.rejected),
                    },
                    **_plain(terms),
                }
                for pair, terms in zip(pairs, self.alone, strict=True)
            ],
        }

    def error(self, *, file: str | None, checkpoint: str | None) -> NumericsError:
        """What to tell the user.

        Args:
            file: where `record` was written.
            checkpoint: the last one before the step.
        """
        wrong = {name: value for name, value in self.seen.items() if not math.isfinite(value)}
        first = next(name for name in ("loss", "grad_norm", *wrong) if name in wrong)
        others = [f"{name} {value}" for name, value in wrong.items() if name != first]
        parts = [
            f"step {self.judged.step}: {first} is not finite ({wrong[first]}), so no update was made",
            *([f"also not finite: {', '.join(others)}"] if others else []),
            self._rows(),
        ]
        hints = [
            self._hint(),
            *([f"All terms of all pairs of the step are in {file}."] if file else []),
            *([f"The last good checkpoint is {checkpoint}."] if checkpoint else []),
        ]
        return NumericsError("; ".join(parts), hint="\n".join(hints))

    def _rows(self) -> str:
        pairs, culprits = self.judged.batch.pairs, self._culprits
        shown = culprits or range(len(pairs))
        names = ", ".join(pairs[i].where for i in shown[:_NAMED])
        more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
        if not culprits:
            return f"alone, each of its {len(pairs)} pairs is finite (rows {names}{more})"
        return f"alone, {len(culprits)} of its {len(pairs)} pairs are not finite: rows {names}{more}"

    def _hint(self) -> str:
        if not self._culprits:
            return (
                "Lower training.learning_rate or try training.precision=float32. If the same step does not "
                "fail again, the device has computed wrongly."
            )
        if len(self._culprits) < len(self.alone):
            return "Look at these rows and leave them out, or try training.precision=float32."
        return "Lower training.learning_rate or try training.precision=float32; or the weights are damaged."


def examine(judged: Judged, step: GradientStep, batches: Batches, totals: Totals) -> Failure:
    """Compute each pair of a step again; called on every rank, with the weights of the step.

    Gradients are left as those of a pair.

    Args:
        judged: the step.
        step: its gradient, of the loss itself and not DDP's wrapper.
        batches: of the run.
        totals: of the step's batch.
    """
    means = WeightedMeans()
    means.add(judged.sums)
    seen = means.take(step.world)
    parameters = [parameter for parameter in step.loss.parameters() if parameter.requires_grad]
    if is_sharded(step.plain.scorer):  # ranks add their gradients up, so all of them take the same pair
        batches = replace(batches, world=World(0, 1, step.world.device))
    scale = step.scaler.scale(torch.ones((), device=step.world.device)) * step.world.size
    names: list[str] = []
    table: Tensor | None = None
    for plan, micro_batch in batches.alone(judged.batch.pairs):
        for parameter in parameters:
            parameter.grad = None
        sums = step([micro_batch], totals, lambda: None)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)).to(scale.device) / scale
        sums["grad_norm"] = weighted(norm, torch.ones_like(norm))
        if table is None:
            names = list(sums)
            table = torch.zeros(len(judged.batch.pairs), len(names), 2, device=step.world.device)
        if plan.weight:
            table[plan.indices[0]] = torch.stack(list(sums.values())).float()
    assert table is not None, "every rank has at least one micro-batch"
    rows: list[list[tuple[float, float]]] = step.world.sum(table).tolist()
    alone = [
        {name: total / weight for name, (total, weight) in zip(names, row, strict=True) if weight}
        for row in rows
    ]
    return Failure(judged, seen, alone)


def _plain(values: Mapping[str, float]) -> dict[str, float | str]:
    """`values` as JSON has them."""
    return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
