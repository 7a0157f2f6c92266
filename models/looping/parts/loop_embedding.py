"""Learned vector for each loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....core.errors import whole
from ....core.schedule import Schedule
from .part import Conditioning, Loop
from .registry import BlockShape, register_part

MOST_LOOPS = 10_000


def most_loops(schedule: Schedule) -> int:
    """Return the number of loops of the block that loops most."""
    return max((section.times for section in schedule.sections), default=1)


class PerLoop(Conditioning):
    """Part with an entry of its own for each loop.

    Args:
        loops: number of entries; later loops use the last. By default the loops of the schedule
            under which the part is installed.
    """

    def __init__(self, shape: BlockShape, loops: int | None = None) -> None:
        super().__init__(shape)
        self.loops = whole("loops of a part", 1 if loops is None else loops, 1, MOST_LOOPS)

    @classmethod
    def options_of(cls, schedule: Schedule) -> dict[str, Any]:
        """Return the number of loops of the schedule."""
        return {"loops": most_loops(schedule)}

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count nothing: the entries are added or multiplied, not matrix products."""
        return 0.0


@register_part("conditioning", "loop_embedding")
class LoopEmbedding(PerLoop):
    """Vector of the loop, added to the block's input: ``x = x + v_i``. Starts at zero."""

    decays = False

    def __init__(self, shape: BlockShape, loops: int | None = None) -> None:
        super().__init__(shape, loops)
        self.vectors = nn.Parameter(torch.zeros(self.loops, shape.width))

    def enter(self, hidden: Tensor, loop: Loop) -> Tensor:
        """Add the vector of the loop."""
        return hidden + loop.vector(self.vectors)
