"""Penalties on states: fixed point, and LoopFormer's consistency of short and long trajectories."""

from __future__ import annotations

from torch import Tensor

from ....core.errors import whole
from .objective import LoopTrace, Objective, generator, weight_of
from .registry import BlockShape, register_part


@register_part("objective", "fixed_point")
class FixedPoint(Objective):
    """Cross-entropy plus a penalty on the last loop's change: ``L + w |h_T - h_{T-1}|² / |h_T|²``.

    Args:
        weight: weight w of the penalty.
    """

    def __init__(self, shape: BlockShape, weight: float = 0.1) -> None:
        super().__init__(shape)
        self.weight = weight_of("fixed_point", "weight", weight)

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the penalised loss of each target."""
        if trace.loops < 2:
            return trace.last_loss
        last, before = (trace.at_targets(h).float() for h in (trace.states[-1], trace.states[-2]))
        change = (last - before).square().sum(-1) / last.square().sum(-1).clamp_min(1e-12)
        return trace.last_loss + self.weight * change


@register_part("objective", "shortcut")
class Shortcut(Objective):
    """Losses of a long and a shorter trajectory, and their distance (arXiv 2602.11451).

    ``L_long + w L_short + w mean (sg(h_long) - h_short)²``, with w = 0.1 as in LoopFormer's code.
    The shorter trajectory has a number of loops drawn each step, from 1 to one less than the long
    one, and starts at the same input. LoopFormer draws unequal step sizes and compares states
    after the final norm; here steps are equal and the block's outputs are compared.

    Args:
        weight: weight w.
        seed: seed of the draws.
    """

    def __init__(self, shape: BlockShape, weight: float = 0.1, seed: int = 0) -> None:
        super().__init__(shape)
        self.weight = weight_of("shortcut", "weight", weight)
        self.seed = whole("seed of shortcut", seed, 0, 2**63)

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the loss of each target."""
        if trace.loops < 2:
            return trace.last_loss
        loops = int(generator(self.seed, trace.step).integers(1, trace.loops))
        short = trace.rerun(loops)
        states = trace.states[-1].detach()
        distance = trace.at_targets(states - short).float().square().mean(-1)
        return trace.last_loss + self.weight * (trace.loss_of(short)[0] + distance)

    def readouts(self, loops: int) -> float:
        """Return the one readout of the shorter trajectory."""
        return float(loops > 1)

    def reruns(self, loops: int) -> float:
        """Return the mean length of the shorter trajectory."""
        return loops / 2 if loops > 1 else 0.0
