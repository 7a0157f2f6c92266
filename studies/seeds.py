"""Aggregation over seeds: means of replicate runs, with Student's t-interval.

Runs that differ in nothing but name and seed are replicates (:mod:`.runs`). A study's table has
their mean, for two sets of replicates the mean of the paired differences of equal seeds; a chart
has one line for each set. A single run is shown as it is.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.statistics import SHARE, Interval, ends, seeds_interval

if TYPE_CHECKING:
    from .study import Record, Table

    MakesTable = Callable[[Sequence[Record]], Table]
    Within = Interval | Callable[[dict[str, Any]], Interval | None] | None

KEPT = ("n", "texts", "chance")  # columns that say what a mean over seeds is of


@dataclass(frozen=True)
class Kind:
    """Trainings that differ in their seed alone.

    Args:
        name: of the run.
        models: seed to the name of a model; two or more.
    """

    name: str
    models: dict[int, str]

    @property
    def label(self) -> str:
        """In a legend."""
        return f"{self.name} ({len(self.models)} seeds)"


def kinds_of(records: Sequence[Record]) -> list[Kind]:
    """The kinds with two or more seeds among the models of records."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for record in records:
        if told := record.get("training"):
            models = found.setdefault((told["kind"], told["recipe"]), {})
            models[told["seed"]] = record["cell"]["model"]
    several = {key: models for key, models in found.items() if len(models) > 1}
    return [Kind(name, dict(sorted(models.items()))) for (name, _), models in several.items()]


def names(records: Sequence[Record]) -> list[str]:
    """What the legend of a chart lists: models, and a kind for those of several seeds."""
    label = _labels(kinds_of(records))
    models = [record["cell"]["model"] for record in records]
    return list(dict.fromkeys(label.get(model, model) for model in models))


def _labels(kinds: Sequence[Kind]) -> dict[str, str]:
    return {model: kind.label for kind in kinds for model in kind.models.values()}


def lines(
    records: Sequence[Record],
    values: Sequence[dict[str, Any]],
    *keys: str,
    of: Sequence[str] = ("value",),
    within: Within = None,
) -> list[dict[str, Any]]:
    """The values of a chart, with one line for each kind.

    Args:
        records: of the study.
        values: points with ``model``, ``keys``, numbers, ``low`` and ``high``.
        keys: what tells the points of a model apart.
        of: the numbers; the first has the interval.
        within: range of the first of them, for all rows or by row; None for one without bounds.
    """
    kinds = kinds_of(records)
    label = _labels(kinds)
    found = [value for value in values if value["model"] not in label]
    for kind in kinds:
        for rows in _by_key(values, kind, keys, of[0]).values():
            if len(rows) == len(kind.models):
                some = next(iter(rows.values()))
                means = {name: _average([row[name] for row in rows.values()]) for name in of}
                over = _interval(list(rows.values()), of[0], within)
                found.append({**some, "model": kind.label, **means, **over})
    order = {name: place for place, name in enumerate(names(records))}
    return sorted(found, key=lambda value: order[value["model"]])


def over_seeds(
    *keys: str,
    of: str = "value",
    means: Sequence[str] = (),
    within: Within = None,
) -> Callable[[MakesTable], MakesTable]:
    """Adds the means over seeds, and differences of kinds, to a study's table.

    Args:
        keys: columns that tell the rows of a model apart.
        of: the column whose interval is in ``low`` and ``high``.
        means: columns that are averaged without one.
        within: range of ``of``, for all rows or by row; None for one without bounds.
    """

    def decorate(table: MakesTable) -> MakesTable:
        @functools.wraps(table)
        def with_seeds(records: Sequence[Record]) -> Table:
            rows, kinds = table(records), kinds_of(records)
            by_key = [_by_key(rows, kind, keys, of) for kind in kinds]
            return [
                *rows,
                *(
                    _mean(f"{kind.name}: mean of {len(some)} seeds", some, None, keys, of, means,
                          within)
                    for kind, found in zip(kinds, by_key, strict=True)
                    for some in found.values()
                    if len(some) == len(kind.models)
                ),
                *(
                    _mean(f"{second.name} minus {first.name}: mean of {len(seeds)} seeds", mine,
                          theirs, keys, of, means, within)
                    for i, second in enumerate(kinds)
                    for j, first in enumerate(kinds[:i])
                    for key, mine in by_key[i].items()
                    if (theirs := by_key[j].get(key))
                    and len(seeds := mine.keys() & theirs.keys()) > 1
                ),
            ]  # fmt: skip

        return with_seeds

    return decorate


def _by_key(
    rows: Sequence[dict[str, Any]], kind: Kind, keys: Sequence[str], of: str
) -> dict[tuple[Any, ...], dict[int, dict[str, Any]]]:
    """What tells the rows of a model apart, to seed, to row; without rows that have no number."""
    seeds = {model: seed for seed, model in kind.models.items()}
    found: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["model"] in seeds and row.get(of, 0) is not None:
            key = tuple(row[name] for name in keys)
            found.setdefault(key, {})[seeds[row["model"]]] = row
    return found


def _mean(
    name: str,
    mine: dict[int, dict[str, Any]],
    theirs: dict[int, dict[str, Any]] | None,
    keys: Sequence[str],
    of: str,
    means: Sequence[str],
    within: Within,
) -> dict[str, Any]:
    """A row of means over seeds; with ``theirs``, of the differences of equal seeds."""
    seeds = sorted(mine if theirs is None else mine.keys() & theirs.keys())

    def values(column: str) -> list[float]:
        pairs = [(mine[s][column], theirs[s][column] if theirs else 0.0) for s in seeds]
        return [a - b for a, b in pairs if a is not None and b is not None]

    first = mine[seeds[0]]
    row: dict[str, Any] = dict.fromkeys(first) | {key: first[key] for key in keys}
    for column in KEPT if theirs is None else KEPT[:2]:
        if column in row and len({mine[seed][column] for seed in seeds}) == 1:
            row[column] = first[column]
    for column in means:
        if len(found := values(column)) == len(seeds):
            row[column] = statistics.fmean(found)
    found = values(of)
    mean = round(statistics.fmean(found), 12)  # differences that are 0 are
    if theirs is None:
        over = _interval([mine[seed] for seed in seeds], of, within)
    else:
        found = [round(value, 12) for value in found]
        over = ends(seeds_interval(found, _of_difference(_range(first, within))))
    return row | {"model": name, of: mean} | over


def _average(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is not known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _interval(rows: Sequence[dict[str, Any]], of: str, within: Within) -> dict[str, float | None]:
    """Over seeds; of shares that do not differ the widest over items, of others none."""
    over = seeds_interval([row[of] for row in rows], _range(rows[0], within))
    items = [row.get(name) for row in rows for name in ("low", "high")]
    known = [end for end in items if end is not None]
    if over is None and _range(rows[0], within) == SHARE and len(known) == len(items):
        over = min(known), max(known)
    return ends(over)


def _range(row: dict[str, Any], within: Within) -> Interval | None:
    return within(row) if callable(within) else within


def _of_difference(within: Interval | None) -> Interval | None:
    """The range of a difference of two numbers of a range."""
    return None if within is None else (within[0] - within[1], within[1] - within[0])
