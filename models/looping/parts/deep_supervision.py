"""Losses after random loops (LoopUS, arXiv 2605.11011) or after all of them."""

from __future__ import annotations

from torch import Tensor

from ....core.errors import whole
from .objective import LoopTrace, Objective, generator
from .registry import BlockShape, register_part


@register_part("objective", "deep_supervision")
class DeepSupervision(Objective):
    """Mean cross-entropy after the last loop and after ``count`` earlier ones, drawn each step.

    LoopUS takes an optimizer step after each supervised loop and stops gradients between loops;
    here the mean is one loss and ``backward_loops`` truncates it.

    Args:
        count: number of earlier loops; all where there are fewer.
        seed: seed of the draws.
    """

    def __init__(self, shape: BlockShape, count: int = 1, seed: int = 0) -> None:
        super().__init__(shape)
        self.count = whole("count of deep_supervision", count, 1, 10_000)
        self.seed = whole("seed of deep_supervision", seed, 0, 2**63)

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the mean loss of each target."""
        earlier = trace.loops - 1
        count = min(self.count, earlier)
        drawn = generator(self.seed, trace.step).choice(earlier, count, replace=False)
        total = trace.last_loss
        for loop in sorted(drawn.tolist()):
            total = total + trace.loss(loop)
        return total / (1 + count)

    def readouts(self, loops: int) -> float:
        """Return the number of earlier loops with a loss."""
        return float(min(self.count, loops - 1))
