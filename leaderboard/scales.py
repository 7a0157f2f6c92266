"""Scales: a row is ranked with those of models of its size, measured as it was.

Rows that others report stand apart from those measured here, and small models trained for a task
apart from large ones that were not: their scores say different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .entries import Entry, tables
from .records import Task
from .site.formats import si

LESSONS = "lessons"  # the size of models that are trained on the tasks themselves


@dataclass(frozen=True)
class Panel:
    """Entries that may be ranked: one task, one scale, all measured or all reported."""

    task: Task
    scale: str
    entries: tuple[Entry, ...]

    @property
    def reported(self) -> bool:
        """Whether others measured it."""
        return self.entries[0].first.kind == "reported"

    @property
    def title(self) -> str:
        """The scale, and whose numbers these are."""
        if not self.reported:
            return f"{self.scale}: measured here"
        sources = dict.fromkeys(entry.model.source or "others" for entry in self.entries)
        return f"{self.scale}: reported by {', '.join(sources)}, not measured here"

    @property
    def comparable(self) -> str:
        """What its rows may be compared with."""
        shots = "" if self.task.shots is None else f", {self.task.shots} shots"
        if self.reported:
            return (
                f"asked other items{shots}; compare these rows with each other, not with rows that "
                "were measured here"
            )
        about = "small models trained for such tasks; " if self.scale == LESSONS else ""
        return f"{about}the same items{shots}; compare these rows with each other"


def scale_of(entry: Entry) -> str:
    """The size of a model by name, else the power of ten of its parameters."""
    if entry.model.size:
        return entry.model.size
    cost = entry.first.cost
    count = cost.effective_parameters or cost.unique_parameters
    if not count:
        return "size not given"
    low = 10 ** (len(str(count)) - 1)
    return f"{si(low, 'B')} to {si(10 * low, 'B')} parameters"


def panels(found: Sequence[Entry]) -> list[Panel]:
    """Entries in groups that may be ranked; of a task what was measured comes first."""
    made: list[Panel] = []
    for task, group in tables(found):
        by_scale: dict[tuple[bool, str], list[Entry]] = {}
        for entry in group:
            by_scale.setdefault((entry.first.kind == "reported", scale_of(entry)), []).append(entry)
        for reported in (False, True):
            made += [
                Panel(task, scale, tuple(some))
                for (of, scale), some in by_scale.items()
                if of is reported
            ]
    return made
