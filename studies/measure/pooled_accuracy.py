"""Accuracy of models pooled over tasks: means, paired differences, and ratios of differences.

The mean weighs every task equally. Differences and ratios are paired by item, so an item's
difficulty cancels.
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
class PooledEstimate:
    """Estimate with its 95 % interval ``[low, high]`` over items; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PooledAnswers:
    """Per-item correctness of models on the same questions.

    Args:
        answers: model -> per task an array ``(items,)`` of 0 and 1.
    """

    answers: Mapping[str, Sequence[Array]]

    @property
    def items(self) -> int:
        """Number of questions over all tasks."""
        return sum(map(len, next(iter(self.answers.values()))))

    def share(self, model: str) -> float:
        """Return the mean accuracy of a model over the tasks.

        >>> pool_answers({"a": ["10" * 50, "1" * 9]}).share("a")
        0.75
        """
        return _mean(self.answers[model])

    def mean(self, model: str) -> PooledEstimate:
        """Return the mean accuracy of a model with its interval."""
        tasks = self.answers[model]
        errors = (task.var() / max(1, len(task) - 1) for task in tasks)
        stderr = math.sqrt(sum(errors)) / len(tasks)
        return _estimate(self.share(model), share_interval(self.share(model), self.items, stderr))

    def difference(self, model: str, other: str) -> tuple[PooledEstimate, float]:
        """Return accuracy of ``model`` minus ``other``, and the p-value of McNemar's test."""
        changes = self._changes(model, other)
        per_item = np.concatenate(changes)
        p = mcnemar(int((per_item > 0).sum()), int((per_item < 0).sum()))
        return _estimate(_mean(changes), change_interval(changes)), p

    def gain(self, pairs: Sequence[tuple[str, str]]) -> tuple[float | None, float | None]:
        """Return the interval over items of the mean difference over pairs of models."""
        if not pairs:
            return None, None
        by_task = zip(*(self._changes(*pair) for pair in pairs), strict=True)
        means = [np.mean(changes, axis=0) for changes in by_task]
        estimate = _estimate(_mean(means), change_interval(means))
        return estimate.low, estimate.high

    def gap_closed(self, model: str, low: str, high: str) -> PooledEstimate:
        """Share of the gap closed, ``(model - low) / (high - low)``.

        Undefined where the interval of ``high - low`` contains 0.

        >>> answers = pool_answers({"low": ["0" * 90], "half": ["10" * 45], "high": ["1" * 90]})
        >>> answers.gap_closed("half", "low", "high").value
        0.5
        """
        part, whole = self._changes(model, low), self._changes(high, low)
        ends = change_interval(whole)
        interval = quotient_interval(part, whole)
        if interval is None or ends[0] <= 0 <= ends[1]:
            return PooledEstimate(None, None, None)
        return _estimate(_mean(part) / _mean(whole), interval)

    def _changes(self, model: str, other: str) -> list[Array]:
        """Per-item difference of two models, one array ``(items,)`` per task."""
        pairs = zip(self.answers[model], self.answers[other], strict=True)
        return [first - second for first, second in pairs]


def pool_answers(answers: Mapping[str, Sequence[str]]) -> PooledAnswers:
    """Pool per-item correctness.

    Args:
        answers: model -> per task, in one order, a string of 0 and 1 per item.

    Raises:
        InputError: the models have different numbers of items.
    """
    sizes = {tuple(map(len, tasks)) for tasks in answers.values()}
    if len(sizes) != 1:
        raise InputError("models that are compared need the same items of the same tasks")
    return PooledAnswers(
        {
            name: [np.array([float(correct) for correct in task]) for task in tasks]
            for name, tasks in answers.items()
        }
    )


def _mean(tasks: Sequence[Array]) -> float:
    return float(np.mean([task.mean() for task in tasks]))


def _estimate(value: float, interval: Interval | None) -> PooledEstimate:
    # rounded, so that sums of thirds which should be 0 are 0
    return PooledEstimate(*(None if number is None else round(float(number), 12)
                      for number in (value, *(interval or (None, None)))))  # fmt: skip
