"""One residual stream between loops: plain, damped, or Euler sub-steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ....core.errors import InputError
from .part import Carry, Loop
from .registry import BlockShape, register_part


@register_part("carry", "one")
class OneStream(Carry):
    """Output of the block: ``h' = block(x)``."""

    acts_once = False


class _Share(Carry):
    """Share of a loop's change to the state: ``h' = h + share (y - h)``."""

    acts_once = False
    detached = False  # the identity path keeps its graph

    def share(self, loop: Loop) -> float | Tensor:
        """Return the share in a loop; ``(rows, 1, 1)`` where rows differ."""
        raise NotImplementedError

    def write(self, state: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Return the state moved by the share of the change."""
        share = self.share(loop)
        if isinstance(share, float) and share == 1:
            return after
        return state + share * (after - state)


@register_part("carry", "damped")
class Damped(_Share):
    """Damped repeats: ``h' = h + share (y - h)`` from the second loop on.

    Args:
        share: share of the change that is applied, above 0 up to 1.
    """

    def __init__(self, shape: BlockShape, share: float = 0.5) -> None:
        super().__init__(shape)
        if isinstance(share, bool) or not 0 < share <= 1:
            raise InputError(f"damping is above 0, up to 1, not {share}")
        self.fixed = float(share)

    def share(self, loop: Loop) -> float | Tensor:
        """Return 1 in the first loop, the damping after it."""
        if isinstance(loop.number, Tensor):
            return torch.where(loop.number > 0, self.fixed, 1.0)[:, None, None]
        return self.fixed if loop.number > 0 else 1.0


@register_part("carry", "substeps")
class Substeps(_Share):
    """Smaller Euler steps: every loop applies 1/loops of its change (arXiv 2605.23872)."""

    def share(self, loop: Loop) -> float | Tensor:
        """Return one over the number of loops."""
        if isinstance(loop.total, Tensor):
            return (1 / loop.total)[:, None, None]
        return 1 / loop.total
