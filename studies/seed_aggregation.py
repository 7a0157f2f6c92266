"""Aggregation over seeds: means of replicate runs, with Student's t-interval.

Runs that differ in nothing but name and seed are replicates (:mod:`.runs`). A study's table gets
the mean of each set of replicates and, for two sets, the mean of the paired differences of equal
seeds; a chart gets one line a set. A single run stays as it is.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.statistics import SHARE, Interval, ends, seeds_interval

if TYPE_CHECKING:
    from .records import StudyRecord
    from .study import Table

    MakeTable = Callable[[Sequence[StudyRecord]], Table]
    Bounds = Interval | Callable[[dict[str, Any]], Interval | None] | None

COMMON = ("n", "texts", "chance")
"""Columns that a mean over seeds keeps, where they are equal."""


@dataclass(frozen=True)
class Replicates:
    """Models whose runs differ in their seed alone.

    Args:
        name: name of the run, without its seed.
        models: seed to name of the model; two or more.
    """

    name: str
    models: dict[int, str]

    @property
    def label(self) -> str:
        """Name in a legend."""
        return f"{self.name} ({len(self.models)} seeds)"


def replicates_of(records: Sequence[StudyRecord]) -> list[Replicates]:
    """Group the models of records into replicates; models of one seed are left out."""
    groups: dict[tuple[str, str], dict[int, str]] = {}
    for record in records:
        if run := record.run:
            groups.setdefault((run.kind, run.recipe), {})[run.seed] = record.model_name
    several = {key: models for key, models in groups.items() if len(models) > 1}
    return [Replicates(name, dict(sorted(models.items()))) for (name, _), models in several.items()]


def legend_names(records: Sequence[StudyRecord]) -> list[str]:
    """Return what the legend of a chart lists: replicates, and models without any."""
    label = _labels(replicates_of(records))
    return list(dict.fromkeys(label.get(r.model_name, r.model_name) for r in records))


def _labels(groups: Sequence[Replicates]) -> dict[str, str]:
    return {model: group.label for group in groups for model in group.models.values()}


def seed_means(
    records: Sequence[StudyRecord],
    points: Sequence[dict[str, Any]],
    *keys: str,
    of: Sequence[str] = ("value",),
    within: Bounds = None,
) -> list[dict[str, Any]]:
    """Average the points of a chart over replicates.

    Args:
        records: records of the study.
        points: points with ``model``, ``keys``, numbers, ``low`` and ``high``.
        keys: fields that identify a point of a model.
        of: fields that are averaged; the first one gets the interval.
        within: range of that field, for all points or by point; None for an unbounded one.
    """
    groups = replicates_of(records)
    label = _labels(groups)
    means = [point for point in points if point["model"] not in label]
    for group in groups:
        for by_seed in _by_key(points, group, keys, of[0]).values():
            if len(by_seed) == len(group.models):
                first = next(iter(by_seed.values()))
                numbers = {name: _average([row[name] for row in by_seed.values()]) for name in of}
                interval = _interval(list(by_seed.values()), of[0], within)
                means.append({**first, "model": group.label, **numbers, **interval})
    order = {name: place for place, name in enumerate(legend_names(records))}
    return sorted(means, key=lambda point: order[point["model"]])


def with_seed_means(
    *keys: str,
    of: str = "value",
    means: Sequence[str] = (),
    within: Bounds = None,
) -> Callable[[MakeTable], MakeTable]:
    """Decorate a study's table: append means over seeds, and differences between replicates.

    Args:
        keys: columns that identify a row of a model.
        of: column with the main number, whose interval is in ``low`` and ``high``.
        means: columns that are averaged without an interval.
        within: range of the column ``of``: an interval, or row -> interval; None for unbounded.

    Example::

        @with_seed_means("task", of="accuracy", within=SHARE)
        def table(records): ...
    """

    def decorate(table: MakeTable) -> MakeTable:
        @functools.wraps(table)
        def with_seeds(records: Sequence[StudyRecord]) -> Table:
            rows, groups = table(records), replicates_of(records)
            by_key = [_by_key(rows, group, keys, of) for group in groups]
            return [
                *rows,
                *(
                    _mean(f"{group.name}: mean of {len(some)} seeds", some, None, keys, of, means,
                          within)
                    for group, cells in zip(groups, by_key, strict=True)
                    for some in cells.values()
                    if len(some) == len(group.models)
                ),
                *(
                    _mean(f"{second.name} minus {first.name}: mean of {len(seeds)} seeds", mine,
                          theirs, keys, of, means, within)
                    for i, second in enumerate(groups)
                    for j, first in enumerate(groups[:i])
                    for key, mine in by_key[i].items()
                    if (theirs := by_key[j].get(key))
                    and len(seeds := mine.keys() & theirs.keys()) > 1
                ),
            ]  # fmt: skip

        return with_seeds

    return decorate


def _by_key(
    rows: Sequence[dict[str, Any]], group: Replicates, keys: Sequence[str], of: str
) -> dict[tuple[Any, ...], dict[int, dict[str, Any]]]:
    """Group the rows of replicates: key -> seed -> row, without rows whose number is None."""
    seeds = {model: seed for seed, model in group.models.items()}
    grouped: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["model"] in seeds and row.get(of, 0) is not None:
            key = tuple(row[name] for name in keys)
            grouped.setdefault(key, {})[seeds[row["model"]]] = row
    return grouped


def _mean(
    name: str,
    mine: dict[int, dict[str, Any]],
    theirs: dict[int, dict[str, Any]] | None,
    keys: Sequence[str],
    of: str,
    means: Sequence[str],
    within: Bounds,
) -> dict[str, Any]:
    """Make the row of means over seeds.

    Args:
        mine: seed to row.
        theirs: seed to row of other replicates: the mean is of the differences of equal seeds.
    """
    seeds = sorted(mine if theirs is None else mine.keys() & theirs.keys())

    def values(column: str) -> list[float]:
        pairs = [(mine[s][column], theirs[s][column] if theirs else 0.0) for s in seeds]
        return [a - b for a, b in pairs if a is not None and b is not None]

    first = mine[seeds[0]]
    row: dict[str, Any] = dict.fromkeys(first) | {key: first[key] for key in keys}
    for column in COMMON if theirs is None else COMMON[:2]:
        if column in row and len({mine[seed][column] for seed in seeds}) == 1:
            row[column] = first[column]
    for column in means:
        if len(present := values(column)) == len(seeds):
            row[column] = statistics.fmean(present)
    numbers = values(of)
    mean = round(statistics.fmean(numbers), 12)  # float noise must not hide a difference of 0
    if theirs is None:
        interval = _interval([mine[seed] for seed in seeds], of, within)
    else:
        numbers = [round(number, 12) for number in numbers]
        interval = ends(seeds_interval(numbers, _of_difference(_range(first, within))))
    return row | {"model": name, of: mean} | interval


def _average(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is None."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if len(present) == len(values) else None


def _interval(rows: Sequence[dict[str, Any]], of: str, within: Bounds) -> dict[str, float | None]:
    """Return the interval over seeds.

    Values that do not differ have none; shares get the widest interval over items instead.
    """
    interval = seeds_interval([row[of] for row in rows], _range(rows[0], within))
    over_items = [row.get(name) for row in rows for name in ("low", "high")]
    present = [end for end in over_items if end is not None]
    if interval is None and _range(rows[0], within) == SHARE and len(present) == len(over_items):
        interval = min(present), max(present)
    return ends(interval)


def _range(row: dict[str, Any], within: Bounds) -> Interval | None:
    return within(row) if callable(within) else within


def _of_difference(within: Interval | None) -> Interval | None:
    """Return the range of a difference of two numbers within a range."""
    return None if within is None else (within[0] - within[1], within[1] - within[0])
