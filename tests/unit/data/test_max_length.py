from __future__ import annotations

import pytest

from orpo.data.max_length import resolve_max_length
from orpo.errors import ConfigError


@pytest.mark.parametrize(("positions", "expected"), [(None, 2048), (128, 128), (2048, 2048), (8192, 2048)])
def test_auto_is_2048_or_the_models_positions_if_fewer(positions: int | None, expected: int) -> None:
    assert resolve_max_length("auto", positions) == expected


@pytest.mark.parametrize("positions", [None, 4096, 8192])
def test_a_number_is_taken_where_the_model_has_positions_for_it(positions: int | None) -> None:
    assert resolve_max_length(4096, positions) == 4096


def test_more_than_the_model_has_positions_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most the model's 4095 positions, got 4096") as caught:
        resolve_max_length(4096, 4095)
    assert "data.max_length=4095" in str(caught.value.hint)
