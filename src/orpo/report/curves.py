"""Line charts made of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_MARKS = "●○×+"


def text_chart(
    steps: Sequence[float], series: Mapping[str, Sequence[float]], *, width: int = 60, height: int = 10
) -> str:
    """Several curves over the same steps, with a scale and a legend.

    Args:
        steps: increasing positions, at least one.
        series: finite values by name, as many as steps; at most four series.
        width: columns of the plot itself.
        height: rows of the plot itself.
    """
    assert len(series) <= len(_MARKS)
    values = [value for curve in series.values() for value in curve]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    reach = (steps[-1] - steps[0]) or 1.0
    grid = [[" "] * width for _ in range(height)]
    for mark, curve in zip(_MARKS, series.values(), strict=False):
        for step, value in zip(steps, curve, strict=True):
            column = round((step - steps[0]) / reach * (width - 1))
            row = round((high - value) / span * (height - 1))
            grid[row][column] = mark
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    gutter = max(len(label) for label in labels.values())
    lines = [f"{labels.get(i, ''):>{gutter}} ┤{''.join(row).rstrip()}" for i, row in enumerate(grid)]
    lines.append(f"{'':>{gutter}} └{'─' * width}")
    lines.append(f"{'':>{gutter}}  step {steps[0]:g}{f'{steps[-1]:g}':>{width - 5 - len(f'{steps[0]:g}')}}")
    lines.append(
        f"{'':>{gutter}}  " + "   ".join(f"{m} {name}" for m, name in zip(_MARKS, series, strict=False))
    )
    return "\n".join(lines)
