"""Models on the same questions of several tasks: means, differences and ratios of differences.

The mean is the plain mean of the tasks' accuracies. A bootstrap draws items within each task, the
same for all models, so that a difference or a ratio is computed draw by draw and keeps what the
models have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..primitives.errors import InputError
from .intervals import Array, bootstrap_means, mcnemar, wilson


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval over items; None where it says nothing."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Pool:
    """Answers of models to the same questions.

    Args:
        answers: of each model, for each task, a text of 0 and 1 an item.
        means: of each model over the tasks.
        draws: the same in each draw of items: ``(draws,)``.
    """

    answers: Mapping[str, Sequence[Sequence[Any]]]
    means: Mapping[str, float]
    draws: Mapping[str, Array]

    @property
    def items(self) -> int:
        """Questions, over all tasks."""
        return sum(map(len, next(iter(self.answers.values()))))

    def mean(self, model: str) -> Estimate:
        """Of a model.

        >>> pool({"a": ["10" * 50]}).mean("a").value
        0.5
        """
        found = _estimate(self.means[model], self.draws[model])
        if found.low == found.high:  # answers all alike within each task: drawing shows no spread
            return Estimate(found.value, *wilson(self.means[model], self.items))
        return found

    def difference(self, model: str, other: str) -> tuple[Estimate, float]:
        """The first minus the second, and the p-value of McNemar's test over all questions."""
        sides = [
            [right == "1" for task in self.answers[name] for right in task]
            for name in (model, other)
        ]
        pairs = list(zip(*sides, strict=True))
        p = mcnemar(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
        value = self.means[model] - self.means[other]
        return _estimate(value, self.draws[model] - self.draws[other]), p

    def gain(self, pairs: Sequence[tuple[str, str]]) -> tuple[float | None, float | None]:
        """The interval over items of the mean difference of pairs; none of no pairs."""
        if not pairs:
            return None, None
        found = [self.draws[a] - self.draws[b] for a, b in pairs]
        mean = _estimate(0.0, np.mean(found, axis=0))
        return mean.low, mean.high

    def gap_closed(self, model: str, low: str, high: str) -> Estimate:
        """``(model - low) / (high - low)``; nothing where the interval of ``high - low`` has 0.

        >>> found = pool({"low": ["0" * 90], "half": ["10" * 45], "high": ["1" * 90]})
        >>> found.gap_closed("half", "low", "high").value
        0.5
        """
        gap, _ = self.difference(high, low)
        assert gap.low is not None
        assert gap.high is not None
        if gap.low <= 0 <= gap.high:
            return Estimate(None, None, None)
        whole = self.draws[high] - self.draws[low]
        part = self.draws[model] - self.draws[low]
        some = whole != 0
        value = (self.means[model] - self.means[low]) / (self.means[high] - self.means[low])
        return _estimate(value, part[some] / whole[some])


def pool(answers: Mapping[str, Sequence[Sequence[Any]]]) -> Pool:
    """Models together.

    Args:
        answers: of each model, for each task in the same order, a text of 0 and 1 an item, or a
            number an item.

    Raises:
        InputError: models with other numbers of items.
    """
    sizes = {tuple(map(len, tasks)) for tasks in answers.values()}
    if len(sizes) != 1:
        raise InputError("models that are compared need the same items of the same tasks")
    names = list(answers)
    tables = [  # (items, models), a task each
        np.array([[float(right) for right in answers[name][task]] for name in names]).T
        for task in range(len(sizes.pop()))
    ]
    draws = np.mean([bootstrap_means(table, seed) for seed, table in enumerate(tables)], axis=0)
    means = np.mean([table.mean(axis=0) for table in tables], axis=0)
    return Pool(
        answers,
        {name: float(means[i]) for i, name in enumerate(names)},
        {name: draws[:, i] for i, name in enumerate(names)},
    )


def _estimate(value: float, draws: Array) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    # sums of thirds and the like: what is 0 has to be
    return Estimate(*(round(float(number), 12) for number in (value, low, high)))
