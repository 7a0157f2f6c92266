"""Models on the same questions of several tasks: means, differences and ratios of differences.

The mean is the plain mean of the tasks' accuracies. Differences and ratios are of the same items,
so what makes an item hard for all models cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import InputError
from ...core.significance import mcnemar
from ...core.statistics import Array, Interval, change_interval, quotient_interval, share_interval


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
        answers: of each model, for each task, 0 or 1 an item: ``(items,)``.
    """

    answers: Mapping[str, Sequence[Array]]

    @property
    def items(self) -> int:
        """Questions, over all tasks."""
        return sum(map(len, next(iter(self.answers.values()))))

    def share(self, model: str) -> float:
        """Mean accuracy of a model over the tasks.

        >>> pool({"a": ["10" * 50, "1" * 9]}).share("a")
        0.75
        """
        return _mean(self.answers[model])

    def mean(self, model: str) -> Estimate:
        """Mean accuracy of a model, with its interval."""
        tasks = self.answers[model]
        errors = (task.var() / max(1, len(task) - 1) for task in tasks)
        stderr = math.sqrt(sum(errors)) / len(tasks)
        return _estimate(self.share(model), share_interval(self.share(model), self.items, stderr))

    def difference(self, model: str, other: str) -> tuple[Estimate, float]:
        """The first minus the second, and the p-value of McNemar's test over all questions."""
        changes = self._changes(model, other)
        every = np.concatenate(changes)
        p = mcnemar(int((every > 0).sum()), int((every < 0).sum()))
        return _estimate(_mean(changes), change_interval(changes)), p

    def gain(self, pairs: Sequence[tuple[str, str]]) -> tuple[float | None, float | None]:
        """The interval over items of the mean difference of pairs; none of no pairs."""
        if not pairs:
            return None, None
        every = zip(*(self._changes(*pair) for pair in pairs), strict=True)
        means = [np.mean(changes, axis=0) for changes in every]
        found = _estimate(_mean(means), change_interval(means))
        return found.low, found.high

    def gap_closed(self, model: str, low: str, high: str) -> Estimate:
        """``(model - low) / (high - low)``; nothing where the interval of ``high - low`` has 0.

        >>> found = pool({"low": ["0" * 90], "half": ["10" * 45], "high": ["1" * 90]})
        >>> found.gap_closed("half", "low", "high").value
        0.5
        """
        part, whole = self._changes(model, low), self._changes(high, low)
        ends = change_interval(whole)
        found = quotient_interval(part, whole)
        if found is None or ends[0] <= 0 <= ends[1]:
            return Estimate(None, None, None)
        return _estimate(_mean(part) / _mean(whole), found)

    def _changes(self, model: str, other: str) -> list[Array]:
        """The first minus the second, an item, of each task."""
        both = zip(self.answers[model], self.answers[other], strict=True)
        return [mine - theirs for mine, theirs in both]


def pool(answers: Mapping[str, Sequence[str]]) -> Pool:
    """Models together.

    Args:
        answers: of each model, for each task in the same order, a text of 0 and 1 an item.

    Raises:
        InputError: models with other numbers of items.
    """
    sizes = {tuple(map(len, tasks)) for tasks in answers.values()}
    if len(sizes) != 1:
        raise InputError("models that are compared need the same items of the same tasks")
    return Pool(
        {
            name: [np.array([float(right) for right in task]) for task in tasks]
            for name, tasks in answers.items()
        }
    )


def _mean(tasks: Sequence[Array]) -> float:
    return float(np.mean([task.mean() for task in tasks]))


def _estimate(value: float, interval: Interval | None) -> Estimate:
    # sums of thirds and the like: what is 0 has to be
    return Estimate(*(None if number is None else round(float(number), 12)
                      for number in (value, *(interval or (None, None)))))  # fmt: skip
