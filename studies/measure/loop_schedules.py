"""Schedules of a model with other numbers of loops: its own loop, or a block that is named."""

from __future__ import annotations

from collections.abc import Callable

from ...core.errors import InputError
from ...core.schedule import Schedule
from ...core.schedule_notation import read_range


def schedule_by_loops(base: Schedule, block: str | None) -> Callable[[int], Schedule]:
    """Return a function from a number of loops to a schedule.

    Args:
        base: schedule of the model; its own loop comes first.
        block: ``START:STOP`` of a model that does not loop.

    Raises:
        InputError: a model that does not loop, without a block; a block outside.

    >>> str(schedule_by_loops(Schedule.parse("1-2x2-1"), None)(3))
    '1-2x3-1'
    >>> str(schedule_by_loops(Schedule.plain(4), "1:3")(2))
    '1-2x2-1'
    """
    if any(section.times > 1 for section in base.sections):
        return base.with_loops
    if block is None:
        raise InputError(f"schedule {base} has no looped block: say which with --block START:STOP")
    start, stop = read_range(block)
    base.repeat(start, stop)  # refuses a block outside
    return lambda loops: base if loops == 1 else base.repeat(start, stop, loops - 1)
