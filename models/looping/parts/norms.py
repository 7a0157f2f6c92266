"""Norms and maps of the state: between two loops (Ouro), and before the coda (Huginn, Parcae)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....core.errors import one_of
from ....core.schedule import Schedule
from .part import Between, End
from .registry import BlockShape, register_part

WEIGHTS = ("final", "own")


@register_part("between", "nothing")
class NothingBetween(Between):
    """State as it is."""

    acts = False


@register_part("end", "output")
class OutputEnd(End):
    """Output of the last loop as it is."""

    acts = False


class _Norm:
    """Norm with the weights of the model's final norm, or with its own."""

    norm: nn.Module | None
    readout: tuple[Any, ...]

    def normalise(self, state: Tensor) -> Tensor:
        """Return the normalised state."""
        if self.norm is not None:
            normed: Tensor = self.norm(state)
            return normed
        [readout] = self.readout
        shared: Tensor = readout.decoder.final_norm(state)
        return shared


def _norm(name: str, weights: str, width: int) -> nn.Module | None:
    """Return a norm of the part's own; None for the model's final one."""
    one_of(f"weights of {name}", weights, WEIGHTS)
    return nn.RMSNorm(width, eps=1e-6) if weights == "own" else None


@register_part("between", "norm")
class NormBetween(_Norm, Between):
    """Norm of the state before each loop but the first, as in Ouro (arXiv 2510.25741).

    What leaves the block is not normalised: the model's final norm follows it. So the logits after
    any loop are Ouro's. The exit gate reads the normalised state, as Ouro's does.

    Args:
        weights: ``final``, the model's final norm; ``own``, an RMS norm with weights of its own.
    """

    def __init__(self, shape: BlockShape, weights: str = "final") -> None:
        super().__init__(shape)
        self.norm = _norm("norm", weights, shape.width)

    def forward(self, state: Tensor) -> Tensor:
        """Return the normalised state."""
        return self.normalise(state)


@register_part("end", "end_norm")
class NormEnd(_Norm, End):
    """Norm of what leaves the block, before the coda, as in Huginn (arXiv 2502.05171).

    Args:
        weights: ``final``, the model's final norm; ``own``, an RMS norm with weights of its own.
    """

    def __init__(self, shape: BlockShape, weights: str = "final") -> None:
        super().__init__(shape)
        self.norm = _norm("end_norm", weights, shape.width)

    def forward(self, state: Tensor) -> Tensor:
        """Return the normalised state."""
        return self.normalise(state)


@register_part("end", "linear")
class LinearEnd(End):
    """Linear map of what leaves the block: Parcae's C (arXiv 2604.12946).

    C starts as the identity (Parcae's at random) and has no weight decay.
    """

    decays = False

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(shape)
        self.C = nn.Parameter(torch.eye(shape.width))

    def forward(self, state: Tensor) -> Tensor:
        """Return the map of the state."""
        return nn.functional.linear(state, self.C)

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count the map, which runs once a block."""
        return 2.0 * self.C.numel()
