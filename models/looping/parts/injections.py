"""Injections without a system of their own: none, add and concat (Geiping et al. 2025)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....core.errors import flag
from ....core.schedule import Schedule
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
    """Sum of state and first input from the second loop on: ``x = h + e``.

    Args:
        norm: normalise the block's first input.
        first: add in the first loop too.
    """

    def __init__(self, shape: BlockShape, norm: bool = False, first: bool = False) -> None:
        super().__init__(shape, norm)
        flag("first of add", first)
        self.first = first

    def forward(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the sum."""
        return state + block_input


@register_part("injection", "concat")
class Concat(Injection):
    """Linear map of state and first input, from the second loop on: ``x = W [h; e]``.

    W starts as ``[I; 0]``, the state alone; with ``first`` as ``[I; I]``, the sum. It is the
    runner's ``adapter``, a linear layer by the name it has always had in checkpoints, so that LoRA
    can be put on it.

    Args:
        norm: normalise the block's first input.
        first: map in the first loop too, as Huginn does.
    """

    def __init__(self, shape: BlockShape, norm: bool = False, first: bool = False) -> None:
        super().__init__(shape, norm)
        flag("first of concat", first)
        self.first = first
        self.width = shape.width
        self.runner: tuple[nn.Module, ...] = ()  # in a tuple, so that torch registers no submodule

    def build_adapter(self, runner: nn.Module) -> nn.Linear:
        """Return the linear map for ``runner.adapter``, which is used from now on."""
        self.runner = (runner,)
        adapter = nn.Linear(2 * self.width, self.width, bias=False)
        with torch.no_grad():
            adapter.weight.copy_(torch.eye(self.width, 2 * self.width))
            if self.first:
                adapter.weight[:, self.width :].fill_diagonal_(1.0)
        return adapter

    def forward(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the map of both."""
        [runner] = self.runner
        adapter: Any = runner.adapter
        mapped: Tensor = adapter(torch.cat([state, block_input], dim=-1))
        return mapped

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count the map, in the first loop if it acts there."""
        return 2.0 * 2 * self.width * self.width if self.first or loop else 0.0
