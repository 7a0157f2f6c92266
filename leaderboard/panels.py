"""Group entries into panels, the tables within which models are ranked.

A panel holds one task and one scale, and either measured or reported results. So reported results
are never ranked against measured ones, nor small models trained for a task against large ones.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .entries import LeaderboardEntry, group_by_task
from .records import Task
from .site.formats import si

LESSONS = "lessons"  # size of models that are trained on the tasks themselves


@dataclass(frozen=True)
class Panel:
    """Entries that may be ranked: one task, one scale, all measured or all reported.

    Args:
        scale: size of the models, e.g. ``360M``.
    """

    task: Task
    scale: str
    entries: tuple[LeaderboardEntry, ...]

    @property
    def reported(self) -> bool:
        """True if the results are reported by others."""
        return self.entries[0].first.kind == "reported"

    @cached_property
    def ranks(self) -> tuple[int | None, ...]:
        """Rank of each entry: 1 + the number of entries whose whole interval is better.

        Entries with overlapping intervals may share a rank; None without an interval.
        """
        known = [entry.interval for entry in self.entries if entry.interval is not None]
        if self.task.higher_is_better:
            ends = sorted(low for low, _ in known)
            better = [
                None if e.interval is None else len(ends) - bisect_right(ends, e.interval[1])
                for e in self.entries
            ]
        else:
            ends = sorted(high for _, high in known)
            better = [
                None if e.interval is None else bisect_left(ends, e.interval[0])
                for e in self.entries
            ]
        return tuple(None if count is None else count + 1 for count in better)

    @property
    def order(self) -> list[int]:
        """Indices of the entries by rank, then from best to worst."""
        last = len(self.entries) + 1
        return sorted(range(len(self.entries)), key=lambda i: self.ranks[i] or last)

    @property
    def title(self) -> str:
        """Scale and origin of the results."""
        if not self.reported:
            return f"{self.scale}: measured here"
        sources = dict.fromkeys(entry.model.source or "others" for entry in self.entries)
        return f"{self.scale}: reported by {', '.join(sources)}, not measured here"

    @property
    def comparable(self) -> str:
        """Note on which rows may be compared."""
        shots = "" if self.task.shots is None else f", {self.task.shots} shots"
        if self.reported:
            return (
                f"other items{shots}; compare these rows with each other, not with rows that "
                "were measured here"
            )
        about = "small models trained for such tasks; " if self.scale == LESSONS else ""
        return f"{about}the same items{shots}; compare these rows with each other"


def entry_scale(entry: LeaderboardEntry) -> str:
    """Return the size of an entry's model, else a range of parameters, a power of ten wide."""
    if entry.model.size:
        return entry.model.size
    cost = entry.first.cost
    count = cost.effective_parameters or cost.unique_parameters
    if not count:
        return "size not given"
    low = 10 ** (len(str(count)) - 1)
    return f"{si(low, 'B')} to {si(10 * low, 'B')} parameters"


def panels(entries: Sequence[LeaderboardEntry]) -> list[Panel]:
    """Group entries into panels; per task the measured ones first."""
    grouped: list[Panel] = []
    for task, group in group_by_task(entries):
        by_scale: dict[tuple[bool, str], list[LeaderboardEntry]] = {}
        for entry in group:
            key = entry.first.kind == "reported", entry_scale(entry)
            by_scale.setdefault(key, []).append(entry)
        for reported in (False, True):
            grouped += [
                Panel(task, scale, tuple(same_scale))
                for (is_reported, scale), same_scale in by_scale.items()
                if is_reported is reported
            ]
    return grouped
