"""Models against one of them on the same items, whatever the study."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.significance import holm, sign_flip, sign_flip_mean
from ..core.statistics import CHANGE, Interval, change_interval, mean_interval, seeds_interval
from .measure.controls import NO_CONTROL

if TYPE_CHECKING:
    from .study import Record, Study, Table

Values = Sequence[Any]
"""A text of 0 and 1 an item, or a number a text."""
Answers = Mapping[Hashable, Values]
"""To the same items, several times: what tells the times apart, to the values of all items."""
Told = tuple[tuple[str, Any], ...]
"""Name and value of what tells a number of a model from its others."""
Points = dict[tuple[Told, tuple[str, ...]], dict[str, dict[Hashable, Values]]]
"""What tells a number, and its questions, to the answers of each model."""
ITEMS = ("fingerprint", "shots", "prompting", "split", "seed", "n")
"""What tells the questions of a row from others of the task."""


@dataclass(frozen=True)
class Change:
    """The mean difference of two models on the same items.

    Args:
        values: of each time that both answered: of each seed, say.
        low, high: of the mean, 95 % over items; None where all items differ alike.
        p: of the mean, over items: that it is as large with signs left to chance.
        within: range of a difference, where it has one.
    """

    values: tuple[float, ...]
    low: float | None
    high: float | None
    p: float
    within: Interval | None = None

    @property
    def mean(self) -> float:
        """Of all times."""
        return statistics.fmean(self.values)

    def __str__(self) -> str:
        """With the interval over items, and after ``seeds`` that over times."""
        parts = [f"{self.mean:+.3f}"]
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:+.3f}, {self.high:+.3f}]")
        if (over := seeds_interval(self.values, self.within)) is not None:
            parts.append("seeds [{:+.3f}, {:+.3f}]".format(*over))
        return " ".join(parts)

    @classmethod
    def of(cls, mine: Answers, other: Answers) -> Change | None:
        """Between equal times; None if there are none.

        >>> print(Change.of({0: "1101" * 4, 1: "1111" * 4}, {0: "0101" * 4, 1: "0101" * 4}))
        +0.375 [+0.085, +0.581] seeds [-1.000, +1.000]
        """
        pairs = [(text, other[time]) for time, text in mine.items() if time in other]
        if not pairs:
            return None
        each = [[float(a) - float(b) for a, b in zip(*pair, strict=True)] for pair in pairs]
        sums = [sum(item) for item in zip(*each, strict=True)]
        means = [item / len(pairs) for item in sums]
        values = tuple(round(statistics.fmean(items), 12) for items in each)
        if isinstance(pairs[0][0], str):  # right or wrong
            p = sign_flip([int(number) for number in sums])
            low, high = change_interval([means])
            return cls(values, low, high, p, CHANGE)
        whole = all(float(number).is_integer() for number in sums)
        p = sign_flip([int(number) for number in sums]) if whole else sign_flip_mean(sums)
        over = mean_interval(means) or (None, None)
        return cls(values, over[0], over[1], p)


def compared(study: Study, records: Sequence[Record], against: str) -> Table:
    """Every model against one of them, wherever both answered the same items.

    p is corrected for the number of comparisons (Holm). Where a study asked questions without an
    answer too, the difference there stands beside.

    Args:
        against: name of a model.

    Raises:
        InputError: a study without answers; no other model that was asked the same.
    """
    if study.compares is None:
        raise InputError(f"{study.name} keeps no answers to compare models by")
    asked = _points(study, records, altered=False)
    beside = {
        (key, model): change
        for key, model, change, _ in _changes(_points(study, records, altered=True), against)
    }
    found = _changes(asked, against)
    if not found:
        raise InputError(f"no other model has answers to the same questions as {against} here")
    corrected = holm([change.p for _, _, change, _ in found])
    rows = []
    for (key, model, change, n), p in zip(found, corrected, strict=True):
        row = {"model": model, "against": against, **dict(key)}
        row |= {"difference": change.mean, "low": change.low, "high": change.high}
        row |= {f"p (Holm of {len(found)})": p}
        if beside:
            control = beside.get((key, model))
            row["control difference"] = None if control is None else control.mean
        rows.append(row | {"n": n})
    return rows


def _points(study: Study, records: Sequence[Record], altered: bool) -> Points:
    """Of a study that compares models.

    Args:
        altered: of the questions without an answer, under the name of the task they are of.
    """
    assert study.compares is not None
    points: Points = {}
    for record in records:
        params = record["cell"]["params"]
        # swaps of layers that are the same ones are no other model
        rows = [row for row in record["rows"] if row.get("changes", True)]
        rows = [row for row in rows if "answers" in row or "each" in row]
        rows = [row for row in rows if (row.get("control", NO_CONTROL) != NO_CONTROL) == altered]
        test = [row for row in rows if row.get("split") != "validation"]
        for row in test or rows:  # where a study has both, validation is for its choices
            told = {f"cell.{name}": value for name, value in params.items()} | params | row
            told.setdefault("task", row.get("metric"))
            if altered:
                told["task"] = row.get("of") or row["task"].partition(":control=")[0]
            if told.keys() >= {*study.compares, *study.over}:  # older records had not all
                key = tuple((name, told[name]) for name in ("task", *study.compares))
                items = tuple(str(row.get(name)) for name in ITEMS)
                name = record["cell"]["model"]
                if study.variant is not None and told[study.variant[0]] != study.variant[1]:
                    name += f", {told[study.variant[0]]}"
                times = points.setdefault((key, items), {}).setdefault(name, {})
                times[tuple(told[name] for name in study.over)] = row.get("answers") or row["each"]
    return points


def _changes(points: Points, against: str) -> list[tuple[Told, str, Change, int]]:
    """Every other model less one of them, with the number of items."""
    found = []
    for (key, _), models in points.items():
        for model, answers in models.items():
            change = Change.of(answers, models.get(against, {})) if model != against else None
            if change is not None:
                found.append((key, model, change, len(next(iter(answers.values())))))
    return found
