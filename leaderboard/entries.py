"""Lines of the leaderboard: a model on a task, repetitions dropped, seeds averaged.

Only what was asked alike is put side by side: the same task, version, data, shots, split and
prompting (``Task.key``). Nothing is ever averaged across different ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..core.statistics import Interval, seeds_interval
from .drawing import steps
from .intervals import item_interval, range_of
from .records import SHARES, Model, Record, Task


@dataclass(frozen=True)
class Entry:
    """The records of one line: alike in all but their seeds."""

    records: tuple[Record, ...]

    @property
    def model(self) -> Model:
        """The model, that of the first seed."""
        return self.records[0].model

    @property
    def task(self) -> Task:
        """What was asked."""
        return self.records[0].task

    @property
    def first(self) -> Record:
        """The record of the first seed, for what all have in common."""
        return self.records[0]

    @property
    def label(self) -> str:
        """The model, and what was done to it."""
        ran = self.first.schedule
        return model_label(self.model) + (f", run as {ran}" if ran else "")

    @property
    def layers_run(self) -> int | None:
        """Layers that ran: those of the schedule where that is not the model's own."""
        if not self.first.schedule:
            return self.model.effective_layers
        ran = steps(self.first.schedule)
        return len(ran) if ran else None

    @cached_property
    def repetitions(self) -> tuple[float, ...]:
        """Independent values: the mean of each training; of a single one each measurement."""
        trainings: dict[int | None, list[float]] = {}
        for record in self.records:
            trainings.setdefault(record.model.seed, []).append(record.value)
        if len(trainings) == 1:
            return tuple(record.value for record in self.records)
        return tuple(map(statistics.fmean, trainings.values()))

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.repetitions)

    @property
    def seeds(self) -> int:
        """Independent repetitions."""
        return len(self.repetitions)

    @property
    def n(self) -> int | None:
        """Items each."""
        return min((record.n for record in self.records if record.n), default=None)

    @cached_property
    def interval(self) -> Interval | None:
        """95 %: over seeds if there are several that differ, else over items; None if not known."""
        return seeds_interval(self.repetitions, range_of(self.task)) or item_interval(self.first)

    @property
    def centred(self) -> float | None:
        """An accuracy with chance at 0 and all right at 1; None where chance is not known."""
        chance = self.task.chance if self.task.metric in SHARES else None
        return None if chance is None else centred(self.value, chance)


def centred(value: float, chance: float) -> float:
    """A score with chance at 0 and all right at 1.

    >>> round(centred(0.6, 0.2), 3)
    0.5
    """
    return (value - chance) / (1 - chance) if chance < 1 else 0.0


def latest(records: Iterable[Record]) -> list[Record]:
    """One record a cell: that of most items, of these the newest."""
    found: dict[tuple[str, ...], Record] = {}
    for record in sorted(records, key=_rank):
        found[record.cell] = record
    return list(found.values())


def _rank(record: Record) -> tuple[int, float, str]:
    return record.n or 0, record.time.timestamp() if record.time else 0.0, record.id


def model_label(model: Model) -> str:
    """What a model is called where several stand together."""
    size = f" {model.size}" if model.size and model.size not in model.name else ""
    return f"{model.name}{size}" + (f" ({model.recipe})" if model.recipe else "")


def task_label(task: Task) -> str:
    """What was asked, in one line that tells apart what is not comparable."""
    parts = [task.name]
    if task.shots is not None:
        parts.append(f"{task.shots} shots")
    if task.metric != "acc":
        parts.append(task.metric)
    if task.version is not None:
        parts.append("as in the paper" if task.version == "paper" else f"version {task.version}")
    if task.fingerprint:
        parts.append(f"data {task.fingerprint.removeprefix('lm-eval-')[:8]}")
    if task.split and task.split != "test":
        parts.append(task.split)
    return " · ".join([*parts, task.prompting] if task.prompting else parts)


def entries(records: Iterable[Record]) -> list[Entry]:
    """All lines, in the order of task, then value (the best first)."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in latest(records):
        key = (
            record.kind,
            record.model.identity,
            record.task.key,
            record.schedule,
            record.loops,
            record.study,
            tuple(sorted((name, repr(value)) for name, value in record.conditions.items())),
            record.dtype,
        )
        groups.setdefault(key, []).append(record)
    found = [Entry(tuple(sorted(group, key=_seeds))) for group in groups.values()]
    return sorted(found, key=_order)


def _seeds(record: Record) -> tuple[int, int]:
    return record.model.seed or 0, record.seed or 0


def _order(entry: Entry) -> tuple[object, ...]:
    sign = -1 if entry.task.higher_is_better else 1
    return entry.task.key, sign * entry.value, entry.label, entry.first.id


def tables(found: Sequence[Entry]) -> list[tuple[Task, list[Entry]]]:
    """Entries that are comparable, together."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in found:
        groups.setdefault(entry.task.key, []).append(entry)
    return [(group[0].task, group) for group in groups.values()]


def front(points: Sequence[tuple[float, float]], higher_is_better: bool = True) -> list[int]:
    """The Pareto front: places of the points that no other beats in cost and value.

    Args:
        points: cost and value of each.

    >>> front([(1, 0.2), (2, 0.5), (2, 0.4), (3, 0.5)])
    [0, 1]
    """
    sign = 1 if higher_is_better else -1
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1]))
    found: list[int] = []
    for place in order:
        if not found or sign * points[place][1] > sign * points[found[-1]][1]:
            found.append(place)
    return found
