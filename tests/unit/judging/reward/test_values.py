"""Values are transformers' own, whatever the batch, and whatever fits into memory."""

from __future__ import annotations

import pytest
import torch

from orpo.errors import NumericsError, ResourceError
from orpo.judging.reward import values as module
from orpo.judging.reward.texts import Text
from orpo.judging.reward.values import Valuer
from tests.tiny import tiny_reward_model

TEXTS = [Text({"input_ids": [1, *range(3, 3 + length)]}, is_cut=False) for length in (5, 1, 30, 12, 2, 7)]


def alone() -> list[float]:
    model = tiny_reward_model().eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([one.inputs["input_ids"]])).logits.item() for one in TEXTS]


def test_values_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, told = alone(), []
    for tokens in (4096, 40, 1):
        monkeypatch.setattr(module, "SPEED_CAP", {"cpu": tokens})
        found = Valuer(tiny_reward_model().eval(), pad_id=0)(TEXTS, told.append)
        assert found == pytest.approx(expected, rel=1e-5)
    assert told[0] == 6
    assert told[-6:] == [1, 2, 3, 4, 5, 6]


def test_the_value_of_a_bfloat16_model_is_computed_in_float32() -> None:
    model = tiny_reward_model().bfloat16().eval()
    found = Valuer(model, pad_id=0)(TEXTS, lambda done: None)
    assert found == pytest.approx(alone(), rel=0.1, abs=0.02)
    assert any(torch.tensor(value).bfloat16().item() != value for value in found)


def test_a_batch_that_does_not_fit_is_split() -> None:
    class Small(Valuer):
        def _values(self, texts):  # type: ignore[no-untyped-def]
            if len(texts) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            return super()._values(texts)

    assert Small(tiny_reward_model().eval(), pad_id=0)(TEXTS, lambda done: None) == pytest.approx(
        alone(), rel=1e-5
    )


def test_a_text_that_does_not_fit_by_itself_is_named() -> None:
    class Full(Valuer):
        def _values(self, texts):  # type: ignore[no-untyped-def]
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    with pytest.raises(ResourceError, match="with a single text of 31 tokens: CUDA out of memory"):
        Full(tiny_reward_model().eval(), pad_id=0)(TEXTS, lambda done: None)


def test_another_error_is_not_taken_for_lack_of_memory() -> None:
    with pytest.raises(IndexError):
        Valuer(tiny_reward_model().eval(), pad_id=0)([Text({"input_ids": [99]}, False)], lambda done: None)


def test_values_that_are_not_finite_are_refused() -> None:
    model = tiny_reward_model().eval()
    model.score.weight.data[0, 0] = torch.nan
    with pytest.raises(NumericsError, match="values that are not finite"):
        Valuer(model, pad_id=0)(TEXTS, lambda done: None)
