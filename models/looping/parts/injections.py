"""Injections without a system of their own: none, add and concat (Geiping et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .part import Injection, Loop
from .registry import BlockShape, register_part


@register_part("injection", "none")
class NoInjection(Injection):
    """State alone: ``x = h``."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(shape)

    def forward(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the state."""
        return state


@register_part("injection", "add")
class Add(Injection):
    """Sum of state and first input from the second loop on: ``x = h + e``."""

    def forward(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the sum."""
        return state + block_input


@register_part("injection", "concat")
class Concat(Injection):
    """Linear map of state and first input, from the second loop on: ``x = W [h; e]``.

    W starts as ``[I; 0]``, the state alone.
    """

    def __init__(self, shape: BlockShape, norm: bool = False) -> None:
        super().__init__(shape, norm)
        self.weight = nn.Parameter(torch.eye(shape.width, 2 * shape.width))

    def forward(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the map of both."""
        return nn.functional.linear(torch.cat([state, block_input], dim=-1), self.weight)
