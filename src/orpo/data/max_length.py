"""How many tokens of prompt + response a model is given at most."""

from __future__ import annotations

from typing import Literal

from orpo.errors import ConfigError

AUTO_MAX_LENGTH = 2048
"""What `auto` is, unless the model has fewer positions."""


def resolve_max_length(configured: int | Literal["auto"], positions: int | None) -> int:
    """The `max_length` that a setting means for a model.

    Args:
        configured: what the user set.
        positions: tokens that the model has positions for; None if it does not say.

    Raises:
        ConfigError: it is more than the model has positions for.
    """
    if configured == "auto":
        return min(AUTO_MAX_LENGTH, positions or AUTO_MAX_LENGTH)
    if positions is not None and configured > positions:
        raise ConfigError(
            f"data.max_length: expected at most the model's {positions} positions, got {configured}",
            hint=f"Set data.max_length={positions}, or auto.",
        )
    return configured
