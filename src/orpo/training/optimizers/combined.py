"""Several optimizers as one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer


class Combined(Optimizer):
    """Steps its parts together, or none of them.

    Their parameter groups and their state are its own, so that a schedule reaches all groups and a checkpoint
    holds all state.

    Unlike the kernel of PyTorch's fused AdamW, most optimizers know no `found_inf`.  Here the host waits for
    it, so that where it is not 0 parameters and state are not touched, whatever the parts are.

    Args:
        parts: of different parameters; at least one.
    """

    found_inf: Tensor | None = None
    """() not 0 where the step has to be left out."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        for part in parts:
            part.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]  there is no loss to give back
        """Update all parameters that have a gradient, unless `found_inf` is set."""
        assert closure is None, "the loss is not computed again"
        if self.found_inf is not None and self.found_inf.item():
            return
        for part in self.parts:
            part.step()
