"""Entries of the leaderboard: one model on one task, averaged over training seeds.

Only records with the same task, version, data, shots, split and prompting (``Task.key``) are
averaged or compared. Of repeated measurements only one counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..core.statistics import Interval, seeds_interval
from .item_intervals import item_interval, range_of
from .model_identities import Key, ModelIdentities, model_label
from .records import SHARES, Model, Record, Task
from .site.schedule_drawing import steps

EFFECT_TASKS = ("depth_score", "local_effect", "propagated_effect")
"""Tasks that measure effects of layers; their prompting includes ``skip_front``."""
SINK_TAKEN = "skip_front 0"


@dataclass(frozen=True)
class LeaderboardEntry:
    """Line of the leaderboard: records of one model on one task that differ in their seeds only.

    Args:
        records: records, sorted by seed.
        models: model of each record, described by the most complete record of the same content.
        key: key of the model, equal for all entries of a model.
        suffixes: appended to the label of the model, and of the entry, to make them unique.
    """

    records: tuple[Record, ...]
    models: tuple[Model, ...] = ()
    key: Key = ()
    suffixes: tuple[str, str] = ("", "")

    @property
    def model(self) -> Model:
        """Model of the first seed."""
        return (self.models or (self.records[0].model,))[0]

    @property
    def task(self) -> Task:
        """Task with its version, data, shots, split and prompting."""
        return self.records[0].task

    @property
    def first(self) -> Record:
        """Record of the first seed, for fields that all records share."""
        return self.records[0]

    @property
    def name(self) -> str:
        """Unique name of the model."""
        return model_label(self.model) + self.suffixes[0]

    @property
    def label(self) -> str:
        """Name of the model, with the schedule that ran if it is not the model's own."""
        return self.name + _schedule_suffix(self.first) + self.suffixes[1]

    @property
    def layers_run(self) -> int | None:
        """Number of layers that ran: steps of the record's schedule, else of the model's own."""
        if not self.first.schedule:
            return self.model.effective_layers
        layers = steps(self.first.schedule)
        return len(layers) if layers else None

    @cached_property
    def repetitions(self) -> tuple[float, ...]:
        """Independent values: the mean per training seed, or, for one seed, each measurement."""
        by_seed: dict[int | None, list[float]] = {}
        models = self.models or [record.model for record in self.records]
        for model, record in zip(models, self.records, strict=True):
            by_seed.setdefault(model.seed, []).append(record.value)
        if len(by_seed) == 1:
            return tuple(record.value for record in self.records)
        return tuple(map(statistics.fmean, by_seed.values()))

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.repetitions)

    @property
    def seeds(self) -> int:
        """Number of independent values: training seeds, or measurements of one run."""
        return len(self.repetitions)

    @property
    def n(self) -> int | None:
        """Number of items per record; the smallest where they differ."""
        return min((record.n for record in self.records if record.n), default=None)

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval: over seeds if there are several that differ, else over items."""
        return seeds_interval(self.repetitions, range_of(self.task)) or item_interval(self.first)

    @property
    def centred(self) -> float | None:
        """Chance-corrected accuracy (0 at chance, 1 if perfect); None where chance is unknown."""
        chance = self.task.chance if self.task.metric in SHARES else None
        return None if chance is None else centred(self.value, chance)


def centred(value: float, chance: float) -> float:
    """Correct a score for chance: ``(value - chance) / (1 - chance)``.

    >>> round(centred(0.6, 0.2), 3)
    0.5
    """
    return (value - chance) / (1 - chance) if chance < 1 else 0.0


def latest_records(records: Iterable[Record]) -> list[Record]:
    """Keep one record per measurement: preferably with a standard error, most items, newest.

    The standard error comes first, so that an unsupported number of items hides no other record.
    """
    all_records = list(records)
    return _latest(all_records, ModelIdentities(all_records))


def _latest(records: Sequence[Record], models: ModelIdentities) -> list[Record]:
    latest: dict[tuple[object, ...], Record] = {}
    for record in sorted(records, key=_rank):
        latest[models.measurement_key(record)] = record
    return list(latest.values())


def _rank(record: Record) -> tuple[bool, int, float, str]:
    time = record.time.timestamp() if record.time else 0.0
    return record.stderr is not None, record.n or 0, time, record.id


def _schedule_suffix(record: Record) -> str:
    return f", run as {record.schedule}" if record.schedule else ""


def task_label(task: Task) -> str:
    """Describe a task in one line, with everything that decides comparability."""
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
    extra = prompting(task)
    return " · ".join([*parts, extra] if extra else parts)


def prompting(task: Task) -> str | None:
    """Return the prompting of a task, with the ``skip_front`` that older records lack.

    A record of effects without ``skip_front`` ablated the first token of each prompt too.
    """
    if task.name not in EFFECT_TASKS or "skip_front" in (task.prompting or ""):
        return task.prompting
    return ", ".join([*([task.prompting] if task.prompting else []), SINK_TAKEN])


def first_token_ablated(task: Task) -> bool:
    """Return True if effects were measured with the first token (attention sink) ablated too.

    The paper does not measure this, so no claim uses such records.
    """
    return (prompting(task) or "").endswith(SINK_TAKEN)


def build_entries(records: Iterable[Record]) -> list[LeaderboardEntry]:
    """Build the entries of the leaderboard, sorted by task, then from best to worst."""
    all_records = list(records)
    models = ModelIdentities(all_records)
    lines: dict[tuple[object, ...], dict[tuple[str, str], list[Record]]] = {}
    for record in _latest(all_records, models):
        line = lines.setdefault(_line_key(record, models), {})
        line.setdefault(record.arithmetic, []).append(record)
    entries = []
    for line in lines.values():
        for group in line.values():
            group = sorted(group, key=lambda record: _seeds(models.model(record), record))
            first, described = group[0], tuple(map(models.model, group))
            suffixes = models.suffix(first), _arithmetic_suffix(first, several=len(line) > 1)
            entries.append(LeaderboardEntry(tuple(group), described, models.key(first), suffixes))
    return sorted(entries, key=_sort_key)


def _line_key(record: Record, models: ModelIdentities) -> tuple[object, ...]:
    """Fields that the records of a line share, except precision and settings."""
    return (
        models.key(record),
        record.task.key,
        record.schedule,
        record.loops,
        record.study,
        tuple(sorted((name, repr(value)) for name, value in record.conditions.items())),
    )


def _arithmetic_suffix(record: Record, several: bool) -> str:
    """Describe non-default settings, and the precision where there are several."""
    parts = [str(record.dtype)] if several else []
    parts += [f"{name} {value}" for name, value in sorted(record.settings.items())]
    return "".join(f", {part}" for part in parts)


def _seeds(model: Model, record: Record) -> tuple[int, int]:
    return model.seed or 0, record.seed or 0


def _sort_key(entry: LeaderboardEntry) -> tuple[object, ...]:
    sign = -1 if entry.task.higher_is_better else 1
    return entry.task.key, sign * entry.value, entry.label, entry.first.id


def group_by_task(entries: Sequence[LeaderboardEntry]) -> list[tuple[Task, list[LeaderboardEntry]]]:
    """Group comparable entries, those of the same task."""
    groups: dict[tuple[str, ...], list[LeaderboardEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.task.key, []).append(entry)
    return [(group[0].task, group) for group in groups.values()]
