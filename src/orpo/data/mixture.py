"""Mixtures: how much of each source is used, as pure functions of the numbers of examples.

Nothing is ever repeated.  Weights are relative shares of what is used: the source that would run out first
sets the size, and the others give as much as keeps the ratio.  What is used of a source is drawn by the seed
and stays in the source's order; whoever raises a limit keeps what was used before and adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from orpo.errors import ConfigError


@dataclass(frozen=True)
class Ingredient:
    """A source of a mixture."""

    name: str
    """For messages."""

    size: int
    """Examples that it has."""

    weight: float | None = None
    """Its share, relative to the weights of the others; None where no source has one."""

    max_rows: int | None = None
    """Most examples of it to use."""

    @property
    def available(self) -> int:
        """Examples that may be used."""
        return self.size if self.max_rows is None else min(self.size, self.max_rows)


@dataclass(frozen=True)
class Share:
    """What is used of a source."""

    indices: NDArray[np.int64]
    """Of the examples that are used, ascending."""

    over_max_rows: int
    """Examples left out by `max_rows`."""

    over_weight: int
    """Examples left out by `weight`."""


def require_weights(names: Sequence[str], weights: Sequence[float | None]) -> None:
    """Refuse weights that some sources of a list have and others lack.

    Raises:
        ConfigError: see above.
    """
    without = [name for name, weight in zip(names, weights, strict=True) if weight is None]
    if without and len(without) < len(names):
        raise ConfigError(
            f"either every source of a list has a weight or none: {', '.join(without)} "
            f"{'has' if len(without) == 1 else 'have'} none",
            hint="Give each of them a `weight`, or limit single sources with `max_rows`.",
        )


def mix(ingredients: Sequence[Ingredient], seed: int) -> list[Share]:
    """What to use of each source.

    Args:
        ingredients: the sources of a list; all have weights or none has.
        seed: which examples are used.

    Raises:
        ConfigError: the weights leave nothing of a source; see also `require_weights`.
    """
    names, weights = [one.name for one in ingredients], [one.weight for one in ingredients]
    require_weights(names, weights)
    sizes = [one.available for one in ingredients] if None in weights else _in_ratio(ingredients)
    return [
        Share(
            indices=_drawn(one.size, size, seed, number),
            over_max_rows=one.size - one.available,
            over_weight=one.available - size,
        )
        for number, (one, size) in enumerate(zip(ingredients, sizes, strict=True))
    ]


def _in_ratio(ingredients: Sequence[Ingredient]) -> list[int]:
    """Sizes in the ratio of the weights, as large as the sources allow."""
    # As fractions of what the user wrote, so that 0.7 to 0.3 of 700 and 300 leaves out nothing.
    weights = [Fraction(str(one.weight)) for one in ingredients]
    scale = min(one.available / weight for one, weight in zip(ingredients, weights, strict=True))
    sizes = [round(weight * scale) for weight in weights]
    for one, size in zip(ingredients, sizes, strict=True):
        if size == 0:
            raise ConfigError(
                f"{one.name}: its weight, {one.weight:g}, leaves nothing of it: the source that runs out "
                f"first allows {float(sum(weights) * scale):.1f} examples in all",
                hint="Raise its weight, or leave the source out.",
            )
    return sizes


def _drawn(size: int, number: int, seed: int, stream: int) -> NDArray[np.int64]:
    """The first `number` of an order of `size` things that `seed` gives, ascending."""
    if number == size:
        return np.arange(size)
    order = np.random.Generator(np.random.PCG64([seed, stream])).permutation(size)
    return np.sort(order[:number])
