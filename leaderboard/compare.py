"""Comparison of two models by their records, task by task.

Records hold means, not answers, so the interval of a difference is that of two independent
numbers: wider than a paired one (``growloop compare`` on result files).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core.errors import InputError, one_of
from ..core.statistics import CHANGE, Interval, clipped, sum_interval
from .entries import LeaderboardEntry, build_entries
from .records import SHARES, Record, Task


@dataclass(frozen=True)
class EntryDifference:
    """Difference of two models on one task: first minus second.

    Args:
        low, high: 95 % interval of the difference; of a model with several seeds over seeds, else
            over items. None if a model has no interval.
    """

    first: LeaderboardEntry
    second: LeaderboardEntry
    low: float | None
    high: float | None

    @property
    def task(self) -> Task:
        """Task of both entries."""
        return self.first.task

    @property
    def seeds(self) -> int:
        """Number of seeds of the model that has fewer."""
        return min(self.first.seeds, self.second.seeds)

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first.value - self.second.value


def compare_records(
    records: Iterable[Record], first: str, second: str, tasks: Sequence[str] = ()
) -> list[EntryDifference]:
    """Compare two models wherever both have plain evaluations (of no study) of the same task.

    Args:
        first, second: names of models, as the leaderboard shows them.
        tasks: names of tasks; by default all that both have.

    Raises:
        InputError: an unknown model or task, or none in common.

    Example::

        for row in compare_records(Store("records").read(), "lidas", "standard"):
            print(row.first.task.name, row.difference, row.low, row.high)
    """
    by_label: dict[str, list[LeaderboardEntry]] = {}
    for entry in build_entries(records):
        if entry.first.study is None:
            by_label.setdefault(entry.label, []).append(entry)
    for name in (first, second):
        one_of("model", name, by_label)
    theirs = {entry.task.key: entry for entry in by_label[second]}
    pairs = [(mine, theirs[mine.task.key]) for mine in by_label[first] if mine.task.key in theirs]
    known = list(dict.fromkeys(mine.task.name for mine, _ in pairs))
    if not known:
        raise InputError(f"{first} and {second} have no task in common, alike in data and prompts")
    for task in tasks:
        one_of("task of both", task, known)
    chosen = [pair for pair in pairs if not tasks or pair[0].task.name in tasks]
    return [EntryDifference(mine, other, *_interval(mine, other)) for mine, other in chosen]


def _interval(mine: LeaderboardEntry, other: LeaderboardEntry) -> Interval | tuple[None, None]:
    if mine.interval is None or other.interval is None:
        return None, None
    terms = [(1, mine.value, mine.interval), (-1, other.value, other.interval)]
    return clipped(sum_interval(terms), CHANGE if mine.task.metric in SHARES else None)
