"""Learned scalar gate for each loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .loop_embedding import PerLoop
from .part import Loop
from .registry import BlockShape, register_part


@register_part("conditioning", "loop_gate")
class LoopGate(PerLoop):
    """Scalar of the loop on the block's change: ``y = x + g_i (block(x) - x)``. Starts at 1."""

    decays = False

    def __init__(self, shape: BlockShape, loops: int | None = None) -> None:
        super().__init__(shape, loops)
        self.gates = nn.Parameter(torch.ones(self.loops, 1))

    def leave(self, before: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Scale the change."""
        return before + loop.vector(self.gates) * (after - before)
