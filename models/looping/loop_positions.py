"""Position of each step of a schedule in its looped block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ...core.schedule import Section


class LoopPosition(NamedTuple):
    """Position of a step in its looped block.

    Args:
        loop: number of the loop, from 0.
        loops: loops of the block in all.
        starts, ends: whether the step is the first, or the last, of its loop.
    """

    loop: int
    loops: int
    starts: bool
    ends: bool


def loop_positions(
    sections: Iterable[Section], is_block: Callable[[Section], bool]
) -> list[LoopPosition | None]:
    """Return the position of each step; None outside of looped blocks.

    Args:
        sections: sections of the schedule, in order.
        is_block: whether a section is a looped block.
    """
    positions: list[LoopPosition | None] = []
    for section in sections:
        _, size, loops = section
        looped = is_block(section)
        for step in range(size * loops):
            loop, offset = divmod(step, size)
            position = LoopPosition(loop, loops, offset == 0, offset == size - 1)
            positions.append(position if looped else None)
    return positions
