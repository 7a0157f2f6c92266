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
from .identities import Identities, Key, model_label
from .item_intervals import item_interval, range_of
from .records import SHARES, Model, Record, Task
from .site.drawing import steps

EFFECTS = ("depth_score", "local_effect", "propagated_effect")
"""Tasks that a study of effects measures: ``skip_front`` is part of what was asked."""
SINK_TAKEN = "skip_front 0"


@dataclass(frozen=True)
class Entry:
    """The records of one line: alike in all but their seeds.

    Args:
        about: the model of each record, as the best of all records of the same content says.
        key: of the model: equal for entries of one.
        apart: what is appended to the label of the model, and of the entry, where others have the
            same.
    """

    records: tuple[Record, ...]
    about: tuple[Model, ...] = ()
    key: Key = ()
    apart: tuple[str, str] = ("", "")

    @property
    def model(self) -> Model:
        """The model, that of the first seed."""
        return (self.about or (self.records[0].model,))[0]

    @property
    def task(self) -> Task:
        """What was asked."""
        return self.records[0].task

    @property
    def first(self) -> Record:
        """The record of the first seed, for what all have in common."""
        return self.records[0]

    @property
    def name(self) -> str:
        """What the model is called where several stand together."""
        return model_label(self.model) + self.apart[0]

    @property
    def label(self) -> str:
        """The model, and what was done to it."""
        return self.name + _ran(self.first) + self.apart[1]

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
        about = self.about or [record.model for record in self.records]
        for model, record in zip(about, self.records, strict=True):
            trainings.setdefault(model.seed, []).append(record.value)
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
    """One record a cell: one with a standard error, of these that of most items, then the newest.

    So a number of items that nothing bears out hides no other record.
    """
    every = list(records)
    return _latest(every, Identities(every))


def _latest(records: Sequence[Record], models: Identities) -> list[Record]:
    found: dict[tuple[object, ...], Record] = {}
    for record in sorted(records, key=_rank):
        found[models.cell(record)] = record
    return list(found.values())


def _rank(record: Record) -> tuple[bool, int, float, str]:
    time = record.time.timestamp() if record.time else 0.0
    return record.stderr is not None, record.n or 0, time, record.id


def _ran(record: Record) -> str:
    return f", run as {record.schedule}" if record.schedule else ""


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
        parts.append(f"data {task.fingerprint.rpartition('-')[2][:8]}")
    if task.split and task.split != "test":
        parts.append(task.split)
    told = prompting(task)
    return " · ".join([*parts, told] if told else parts)


def prompting(task: Task) -> str | None:
    """What else changes the questions, with what records of effects do not say themselves.

    Without a ``skip_front`` the first token of each text was taken away like any other.
    """
    if task.name not in EFFECTS or "skip_front" in (task.prompting or ""):
        return task.prompting
    return ", ".join([*([task.prompting] if task.prompting else []), SINK_TAKEN])


def sink_taken(task: Task) -> bool:
    """Whether effects were measured with the first token, the attention sink, taken away too.

    That is a question of its own, and not the published one: no claim is about it.
    """
    return (prompting(task) or "").endswith(SINK_TAKEN)


def entries(records: Iterable[Record]) -> list[Entry]:
    """All lines, in the order of task, then value (the best first)."""
    every = list(records)
    models = Identities(every)
    lines: dict[tuple[object, ...], dict[tuple[str, str], list[Record]]] = {}
    for record in _latest(every, models):
        line = lines.setdefault(_line(record, models), {})
        line.setdefault(record.arithmetic, []).append(record)
    found = []
    for line in lines.values():
        for group in line.values():
            group = sorted(group, key=lambda record: _seeds(models.model(record), record))
            first, about = group[0], tuple(map(models.model, group))
            apart = models.apart(first), _arithmetic(first, several=len(line) > 1)
            found.append(Entry(tuple(group), about, models.key(first), apart))
    return sorted(found, key=_order)


def _line(record: Record, models: Identities) -> tuple[object, ...]:
    """What the records of a line have in common, except precision and settings."""
    return (
        models.key(record),
        record.task.key,
        record.schedule,
        record.loops,
        record.study,
        tuple(sorted((name, repr(value)) for name, value in record.conditions.items())),
    )


def _arithmetic(record: Record, several: bool) -> str:
    """How it was computed: unusual settings, and the precision where there are several."""
    told = [str(record.dtype)] if several else []
    told += [f"{name} {value}" for name, value in sorted(record.settings.items())]
    return "".join(f", {text}" for text in told)


def _seeds(model: Model, record: Record) -> tuple[int, int]:
    return model.seed or 0, record.seed or 0


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
