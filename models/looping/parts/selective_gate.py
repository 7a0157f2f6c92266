"""Input-dependent gate between loops of LoopUS (arXiv 2605.11011, models/modeling_lds.py)."""

from __future__ import annotations

from math import ceil, log, sqrt

import torch
from torch import Tensor, nn

from ....core.errors import whole
from ....core.schedule import Schedule
from .part import Carry, Loop
from .registry import BlockShape, register_part

STEPS = 1e-3, 0.1  # smallest and largest initial step


@register_part("carry", "selective_gate")
class SelectiveGate(Carry):
    """Mixture of the state before and after a loop: ``h' = a ⊙ y + (1 - a) ⊙ h``.

    ``a = exp(-δ A)`` with ``A = exp(A_log) > 0`` and ``δ = softplus(W₂ W₁ (y - h) + b)``, one a
    token and channel. A starts as 1, 2, …, dim and b so that δ is between 0.001 and 0.1, as in
    the authors' code: the new state dominates in early channels, the old one in late channels of
    a wide model. Not the identity at the start. A has no weight decay, as all vectors.

    Args:
        rank: rank of ``W₂ W₁``; by default a sixteenth of the width, rounded up.
    """

    def __init__(self, shape: BlockShape, rank: int | None = None) -> None:
        super().__init__(shape)
        rank = ceil(shape.width / 16) if rank is None else rank
        whole("rank of selective_gate", rank, 1, 2**16)
        low, high = map(log, STEPS)
        steps = torch.exp(torch.rand(shape.width) * (high - low) + low)
        bound = 1 / sqrt(rank)
        self.A_log = nn.Parameter(torch.arange(1, shape.width + 1).float().log())
        self.down = nn.Linear(shape.width, rank, bias=False)
        self.up = nn.Linear(rank, shape.width)
        with torch.no_grad():
            self.up.weight.uniform_(-bound, bound)
            self.up.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # inverse of softplus

    def write(self, state: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Return the mixture."""
        step = nn.functional.softplus(self.up(self.down(after - state)))
        share = torch.exp(-step * torch.exp(self.A_log))
        return share * after + (1 - share) * state

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count both maps, once a loop."""
        return 2.0 * (self.down.weight.numel() + self.up.weight.numel())
