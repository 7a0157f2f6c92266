"""The interval of a record over its items, and the range that a metric never leaves."""

from __future__ import annotations

from ..core.statistics import SHARE, Interval, error_interval, share_interval
from .records import RANGES, SHARES, Record, Task


def range_of(task: Task) -> Interval | None:
    """The range of a task's metric; None for one without bounds."""
    return SHARE if task.metric in SHARES else RANGES.get(task.metric)


def item_interval(record: Record) -> Interval | None:
    """The interval of one record over its items; None if it is not known, or nothing varied."""
    if record.stderr is None and record.kind != "measured":
        return None
    if record.task.metric in SHARES:
        return share_interval(record.value, record.n, record.stderr)
    if record.stderr is None:
        return None
    return error_interval(record.value, record.stderr, record.n, range_of(record.task))
