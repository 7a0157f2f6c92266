"""Interval of a record over its items, and the range of its metric."""

from __future__ import annotations

from ..core.statistics import SHARE, Interval, error_interval, share_interval
from .records import RANGES, SHARES, Record, Task


def range_of(task: Task) -> Interval | None:
    """Return the range of a task's metric; None for an unbounded one."""
    return SHARE if task.metric in SHARES else RANGES.get(task.metric)


def item_interval(record: Record) -> Interval | None:
    """Return the 95 % interval over items; None if it is unknown or nothing varied."""
    if record.stderr is None and record.kind != "measured":
        return None
    if record.task.metric in SHARES:
        return share_interval(record.value, record.n, record.stderr)
    if record.stderr is None:
        return None
    return error_interval(record.value, record.stderr, record.n, range_of(record.task))
