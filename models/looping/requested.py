"""Schedules as a user gives them: one for a model, or one for each number of repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.errors import InputError, whole
from ...core.rys import blocks_of, is_rys, read_rys
from ...core.schedule import Schedule, as_schedule, check_whole
from .decoder import find_layers
from .loop import loop

Block = tuple[int, int]
Notation = Schedule | str | int | Sequence[int]


def looping(
    schedule: Notation | None, repeat: Block | None = None, times: int | None = None
) -> Callable[[Any], object] | None:
    """Return a function that loops a model in place; None without a schedule and a block.

    Args:
        schedule: any notation, the RYS notation too, or a list of layers.
        repeat: block ``(start, stop)`` of steps that runs again.
        times: extra passes of the block; 1 by default.

    Raises:
        InputError: ``times`` without ``repeat``, or a notation that cannot be parsed.
    """
    if times is not None and repeat is None:
        raise InputError("repeats are extra passes of a block START:STOP: give both")
    if times is not None:
        whole("repeats", times, 1)
    parsed = _parsed(schedule)
    if parsed is None and repeat is None:
        return None
    again = 1 if times is None else times
    if isinstance(parsed, Schedule) and repeat is not None:
        parsed, repeat = parsed.repeat(*repeat, again), None

    def change(model: Any) -> object:
        _check(model, schedule)
        wanted = parsed(model) if callable(parsed) else parsed
        return loop(model, wanted, repeat=repeat, times=again if repeat is not None else 1)

    return change


def repeated_blocks(
    schedule: Notation | None, repeat: Block | None, times: Sequence[int]
) -> Callable[[Any], list[Schedule]]:
    """Return a function from a model to its schedules, one for each number of repeats.

    Args:
        schedule: schedule before the repeats; by default the model's own.
        repeat: block ``(start, stop)`` of steps that runs again.
        times: numbers of extra passes; 0 is the schedule itself.

    Raises:
        InputError: no block, or a notation that cannot be parsed.
    """
    if repeat is None:
        raise InputError("repeats are extra passes of a block START:STOP: give both")
    start, stop = repeat
    parsed = _parsed(schedule)

    def repeated_schedules(model: Any) -> list[Schedule]:
        _check(model, schedule)
        base: Schedule = loop(model, parsed(model) if callable(parsed) else parsed).schedule
        return [base.repeat(start, stop, count) if count else base for count in times]

    return repeated_schedules


def _parsed(schedule: Notation | None) -> Any:
    """Parse a schedule; RYS notation becomes a function of the model, which has the depth."""
    if schedule is None:
        return None
    if not isinstance(schedule, str) or not is_rys(schedule):
        return as_schedule(schedule)
    blocks_of(schedule)  # refuses before the model is loaded
    return lambda model: read_rys(schedule, len(find_layers(model).unique))


def _check(model: Any, schedule: Notation | None) -> None:
    """Refuse a notation in blocks of fewer layers than the model has."""
    if isinstance(schedule, str) and not is_rys(schedule):
        check_whole(schedule, len(find_layers(model).unique))
