"""Values of texts by a reward model, in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from orpo.errors import NumericsError, ResourceError
from orpo.judging.reward.texts import Text
from orpo.modeling.kinds import VALUE_HEAD
from orpo.ops.memory import is_out_of_memory, out_of_memory_message, release_memory
from orpo.training.budget import SPEED_CAP


class Valuer:
    """Computes values with a model's own forward pass.

    Args:
        model: a sequence-classification model of transformers with one label, in evaluation mode.
        pad_id: fills rows at their end.
    """

    def __init__(self, model: PreTrainedModel, pad_id: int) -> None:
        self._model = model
        self._padding = {"input_ids": pad_id}
        _compute_values_in_float32(model)

    def __call__(self, texts: Sequence[Text], on_done: Callable[[int], None]) -> list[float]:
        """The value of each text.

        Args:
            texts: in any order; those of about the same length are computed together.
            on_done: called with the number of texts that have their values.

        Raises:
            ResourceError: a single text does not fit into memory.
            NumericsError: a value is not finite.
        """
        values = [0.0] * len(texts)
        done = 0
        for batch in _batches(texts, SPEED_CAP.get(self._model.device.type, SPEED_CAP["cpu"])):
            for place, value in zip(batch, self._fitting([texts[i] for i in batch]), strict=True):
                values[place] = value
            done += len(batch)
            on_done(done)
        return values

    def _fitting(self, texts: Sequence[Text]) -> list[float]:
        """Values of a batch, in smaller ones if it does not fit."""
        try:
            return self._values(texts)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(texts) == 1:
                raise ResourceError(
                    f"out of memory on {self._model.device} with a single text of {len(texts[0])} tokens: "
                    f"{out_of_memory_message(error)}",
                    hint="Use a smaller reward model, or a machine with more memory.",
                ) from None
        # Only here, where the exception is gone, do its frames hold the failed try's tensors no more.
        release_memory(self._model.device)
        middle = len(texts) // 2
        return self._fitting(texts[:middle]) + self._fitting(texts[middle:])

    @torch.no_grad()
    def _values(self, texts: Sequence[Text]) -> list[float]:
        width = max(map(len, texts))
        inputs = {name: self._filled(name, texts, width) for name in texts[0].inputs}
        inputs["attention_mask"] = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in texts])
        moved = {name: rows.to(self._model.device) for name, rows in inputs.items()}
        values = self._model(**moved).logits[:, 0].double()
        if not values.isfinite().all():
            raise NumericsError(
                "the reward model gives values that are not finite",
                hint="Its weights may be damaged.",
            )
        return values.tolist()

    def _filled(self, name: str, texts: Sequence[Text], width: int) -> torch.Tensor:
        filling = self._padding.get(name, 0)
        rows = [one.inputs[name] for one in texts]
        return torch.tensor([[*row, *[filling] * (width - len(row))] for row in rows])


def _batches(texts: Sequence[Text], max_tokens: int) -> Iterator[list[int]]:
    """Places of texts, the longest first, as many at a time as hold `max_tokens` with padding."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    start = 0
    while start < len(order):
        size = max(1, max_tokens // len(texts[order[start]]))
        yield order[start : start + size]
        start += size


def _compute_values_in_float32(model: PreTrainedModel) -> None:
    """Take the last product in float32: with bfloat16's three digits many responses would be tied."""
    head = getattr(model, VALUE_HEAD, None)
    if isinstance(head, nn.Module):
        head.float()
        head.register_forward_pre_hook(_as_float32)


def _as_float32(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.float() for one in inputs)
