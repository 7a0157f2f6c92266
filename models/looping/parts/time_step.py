"""Time and step size of a loop, as in LoopFormer (arXiv 2602.11451)."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from ....core.errors import InputError, whole
from .part import Conditioning, Loop
from .registry import BlockShape, register_part

PERIOD = 10_000.0


@register_part("conditioning", "time_step")
class TimeStep(Conditioning):
    """Modulation by time and step size: ``y = x' + (1 + g) (block((1 + s) x) - (1 + s) x)``.

    A trajectory of k loops goes from time 0 to 1: loop i is at ``t = i / k`` with step size
    ``1 / k``. Both are embedded by sinusoids and a small MLP each; a linear map of their sum,
    which starts at zero, gives the scale s and the gate g. Starts as the identity.

    LoopFormer modulates both sublayers of every layer, and its gates have no 1: they multiply the
    sublayers' outputs alone. Here the block is modulated as a whole, so that any architecture can
    be, and a trained model is unchanged at the start.

    Args:
        frequencies: dimension of the sinusoidal embedding, even.
        hidden: width of the MLPs; by default that of the model.
    """

    def __init__(
        self, shape: BlockShape, frequencies: int = 256, hidden: int | None = None
    ) -> None:
        super().__init__(shape)
        self.frequencies = whole("frequencies of time_step", frequencies, 2, 2**16)
        if frequencies % 2:
            raise InputError(f"frequencies of time_step is even, not {frequencies}")
        wide = shape.width if hidden is None else whole("hidden of time_step", hidden, 1, 2**16)
        self.time, self.step = (
            nn.Sequential(nn.Linear(frequencies, wide), nn.SiLU(), nn.Linear(wide, wide))
            for _ in range(2)
        )
        self.modulation = nn.Linear(wide, 2 * shape.width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def factors(self, loop: Loop, like: Tensor) -> tuple[Tensor, Tensor]:
        """Compute ``1 + s`` and ``1 + g`` of a loop: ``(dim,)``, or ``(rows, 1, dim)``."""
        number = torch.as_tensor(loop.number, device=like.device)
        total = torch.as_tensor(loop.total, device=like.device)
        embedded = self.time(self._sinusoids(number / total, like))
        embedded = embedded + self.step(self._sinusoids(1 / total, like))
        scale, gate = self.modulation(nn.functional.silu(embedded)).chunk(2, dim=-1)
        if scale.dim() > 1:
            scale, gate = scale[:, None], gate[:, None]
        return 1 + scale, 1 + gate

    def _sinusoids(self, value: Tensor, like: Tensor) -> Tensor:
        half = self.frequencies // 2
        places = torch.arange(half, device=like.device, dtype=torch.float32)
        angles = value.float()[..., None] * torch.exp(-log(PERIOD) * places / half)
        both = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return both.to(self.modulation.weight.dtype)

    def enter(self, hidden: Tensor, loop: Loop) -> Tensor:
        """Scale the input of the block."""
        return self.factors(loop, hidden)[0] * hidden

    def leave(self, before: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Gate the change of the block, and add it to the unscaled input."""
        scale, gate = self.factors(loop, before)
        return before + gate * (after - scale * before)

    def flops(self, schedule: object, start: int, size: int, loop: int) -> float:
        """Count nothing per token: the factors are computed once a loop."""
        return 0.0
