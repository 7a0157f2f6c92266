"""Paired comparison of models on the same items, in any study."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.significance import holm, paired_interval, paired_p
from ..core.statistics import CHANGE, Interval, seeds_interval
from .records import NO_CONTROL

if TYPE_CHECKING:
    from .records import Row, StudyRecord
    from .study import Study, Table

ItemValues = Sequence[Any]
"""Per-item results: a string with one 0 or 1 per item, or one number per prompt."""
Repeats = Mapping[Hashable, ItemValues]
"""Repeated results on the same items: repeat key (e.g. a seed) -> per-item results."""
Conditions = tuple[tuple[str, Any], ...]
"""Name and value of each column that identifies a number of a model."""
Results = dict[tuple[Conditions, tuple[str, ...]], dict[str, dict[Hashable, ItemValues]]]
"""Per-item results: (conditions, items) -> model -> repeat key -> per-item results."""
ITEMS = ("fingerprint", "shots", "prompting", "split", "seed", "n")
"""Columns that identify the items of a row."""


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of two models on the same items.

    Args:
        values: difference in each repeat (e.g. each seed) that both models have.
        low, high: 95 % interval of the mean over items; None where the difference is the same
            for all items.
        p: p-value of the mean over items, of a paired permutation (sign-flip) test.
        within: range of a difference; None for an unbounded one.
    """

    values: tuple[float, ...]
    low: float | None
    high: float | None
    p: float
    within: Interval | None = None

    @property
    def mean(self) -> float:
        """Mean over repeats."""
        return statistics.fmean(self.values)

    def __str__(self) -> str:
        """Format the mean with its interval over items and, after ``seeds``, over repeats."""
        parts = [f"{self.mean:+.3f}"]
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:+.3f}, {self.high:+.3f}]")
        if (over_repeats := seeds_interval(self.values, self.within)) is not None:
            parts.append("seeds [{:+.3f}, {:+.3f}]".format(*over_repeats))
        return " ".join(parts)

    @classmethod
    def between(cls, mine: Repeats, other: Repeats) -> PairedDifference | None:
        """Compare two models in the repeats that both have; None if there is none.

        Args:
            mine, other: repeat key -> per-item results; the difference is ``mine - other``.

        >>> mine, other = {0: "1101" * 4, 1: "1111" * 4}, {0: "0101" * 4, 1: "0101" * 4}
        >>> print(PairedDifference.between(mine, other))
        +0.375 [+0.085, +0.581] seeds [-1.000, +1.000]
        """
        pairs = [(values, other[repeat]) for repeat, values in mine.items() if repeat in other]
        if not pairs:
            return None
        each = [[float(a) - float(b) for a, b in zip(*pair, strict=True)] for pair in pairs]
        sums = [sum(item) for item in zip(*each, strict=True)]
        means = [item / len(pairs) for item in sums]
        values = tuple(round(statistics.fmean(items), 12) for items in each)
        correctness = isinstance(pairs[0][0], str)
        low, high = paired_interval([means], bounded=correctness) or (None, None)
        p = paired_p([sums], exact_up_to=math.inf)
        return cls(values, low, high, p, CHANGE if correctness else None)


def compare_models(study: Study, records: Sequence[StudyRecord], against: str) -> Table:
    """Compare every other model with one, wherever both answered the same items.

    p-values are corrected for the number of comparisons (Holm). For studies with control questions,
    the column ``control difference`` has the difference on these.

    Args:
        against: name of the model to compare with.

    Raises:
        InputError: a study without per-item results; no other model has the same items.
    """
    if study.conditions is None:
        raise InputError(
            f"{study.name} records no per-item results, so its models cannot be compared"
        )
    control_differences = {
        (conditions, model): difference
        for conditions, model, difference, _ in _differences(
            _results(study, records, controls=True), against
        )
    }
    differences = _differences(_results(study, records, controls=False), against)
    if not differences:
        raise InputError(f"no other model has answers to the same questions as {against} here")
    corrected = holm([difference.p for _, _, difference, _ in differences])
    rows = []
    for (conditions, model, difference, n), p in zip(differences, corrected, strict=True):
        row = {"model": model, "against": against, **dict(conditions)}
        row |= {"difference": difference.mean, "low": difference.low, "high": difference.high}
        row |= {f"p (Holm of {len(differences)})": p}
        if control_differences:
            control = control_differences.get((conditions, model))
            row["control difference"] = None if control is None else control.mean
        rows.append(row | {"n": n})
    return rows


def _results(study: Study, records: Sequence[StudyRecord], controls: bool) -> Results:
    """Collect per-item results.

    Args:
        controls: True for results on control questions, listed under the original task's name;
            False for results on the questions themselves.
    """
    assert study.conditions is not None
    results: Results = {}
    for record in records:
        for row in _compared_rows(record, controls):
            params = {f"cell.{name}": value for name, value in record.params.items()}
            columns = params | record.params | row.to_json()
            columns.setdefault("task", row.metric)
            if controls:
                columns["task"] = row.of or row.task.partition(":control=")[0]
            if not columns.keys() >= {*study.conditions, *study.averaged_over}:
                continue  # older records had not all columns
            conditions = tuple((name, columns[name]) for name in ("task", *study.conditions))
            items = tuple(str(row.get(name)) for name in ITEMS)
            model = record.model_name
            if study.variant is not None and columns[study.variant[0]] != study.variant[1]:
                model += f", {columns[study.variant[0]]}"
            repeats = results.setdefault((conditions, items), {}).setdefault(model, {})
            repeat = tuple(columns[name] for name in study.averaged_over)
            repeats[repeat] = row.answers or row.each
    return results


def _compared_rows(record: StudyRecord, controls: bool) -> list[Row]:
    """Select rows with per-item results; if the study has both splits, the test rows only."""
    rows = [row for row in record.rows if "answers" in row or "each" in row]
    # a swap of two equal layers changes nothing
    rows = [row for row in rows if row.get("changes", True)]
    rows = [row for row in rows if (row.control != NO_CONTROL) == controls]
    return [row for row in rows if row.split != "validation"] or rows


def _differences(
    results: Results, against: str
) -> list[tuple[Conditions, str, PairedDifference, int]]:
    """Return (conditions, model, difference to ``against``, number of items) of other models."""
    differences = []
    for (conditions, _), models in results.items():
        for model, repeats in models.items():
            if model == against:
                continue
            difference = PairedDifference.between(repeats, models.get(against, {}))
            if difference is not None:
                n = len(next(iter(repeats.values())))
                differences.append((conditions, model, difference, n))
    return differences
