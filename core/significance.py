"""Paired comparison of two models on the same items: interval, p-value, Holm's correction.

Every comparison of growloop takes its interval from :func:`paired_interval` and its p-value from
:func:`paired_p`: of evaluations, of suites, of studies.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .statistics import Interval, Tasks, change_interval, mean_interval

FLIPPED = 16  # most differences whose sign patterns are enumerated


@dataclass(frozen=True)
class Paired:
    """Paired comparison of two models on the same items.

    Args:
        difference: accuracy of the first minus that of the second.
        low, high: 95 % interval of the difference, over items.
        better, worse: number of items that only the first, or only the second, got right.
        p: two-sided p-value of the exact McNemar test.
    """

    difference: float
    low: float
    high: float
    better: int
    worse: int
    p: float


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare per-item correctness of two models.

    Args:
        first, second: whether each item was answered right, in the same order.

    Raises:
        InputError: different numbers of items.

    >>> paired([True] * 9 + [False], [False] * 10).p
    0.00390625
    """
    if len(first) != len(second):
        raise InputError(f"a paired test needs the same items, not {len(first)} and {len(second)}")
    better = sum(a and not b for a, b in zip(first, second, strict=True))
    worse = sum(b and not a for a, b in zip(first, second, strict=True))
    changes = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    low, high = change_interval([changes])
    mean = statistics.fmean(changes)
    return Paired(mean, low, high, better, worse, mcnemar(better, worse))


def paired_interval(tasks: Tasks, bounded: bool = True) -> Interval | None:
    """Compute the 95 % interval of the mean over tasks of their mean paired difference.

    Args:
        tasks: per task one difference per item.
        bounded: whether scores are from 0 to 1, such as right or wrong and F1. Unbounded scores,
            such as losses, have an interval for one task alone.

    Returns:
        None where a task has a single item, or the differences have no spread.

    >>> paired_interval([[1.0] * 8]) is None, paired_interval([[1.0] * 8], bounded=False) is None
    (False, True)
    """
    if min(map(len, tasks)) < 2:
        return None
    if bounded:
        return change_interval(tasks)
    return mean_interval(list(tasks[0])) if len(tasks) == 1 else None


def paired_p(tasks: Tasks, exact_up_to: float = 1) -> float:
    """Compute the two-sided p-value of a sign-flip test of the mean over tasks.

    Of right and wrong answers to one task it is McNemar's exact test.

    Args:
        tasks: per task one difference per item.
        exact_up_to: largest difference of whole numbers that :func:`sign_flip` tests. Other
            differences, and those of several tasks, have :func:`sign_flip_mean`.

    >>> paired_p([[1.0] * 10 + [0.0] * 5]) == mcnemar(10, 0)
    True
    >>> paired_p([[0.5, 0.25], [0.125, 1.0]])
    0.125
    """
    if len(tasks) > 1:
        size = len(tasks)
        return sign_flip_mean([change / (len(task) * size) for task in tasks for change in task])
    changes = [float(change) for change in tasks[0]]
    if all(change.is_integer() and abs(change) <= exact_up_to for change in changes):
        return sign_flip([int(change) for change in changes])
    return sign_flip_mean(changes)


def mcnemar(better: int, worse: int) -> float:
    """Compute the two-sided p-value of the exact McNemar test.

    Args:
        better, worse: numbers of discordant items: right in the first model only, or in the
            second only.

    >>> mcnemar(1, 0), mcnemar(10, 0)
    (1.0, 0.001953125)
    """
    below = _coins(better + worse)[: min(better, worse) + 1]
    return min(1.0, 2 * sum(below))


def sign_flip(differences: Sequence[int]) -> float:
    """Compute the exact two-sided p-value of the sign-flip test of a sum of paired differences.

    For single answers it is McNemar's test; it extends that to sums of several answers per item.

    Args:
        differences: a small whole number per item.

    >>> round(sign_flip([1] * 10 + [0] * 5), 6), sign_flip([2, 2, -1])
    (0.001953, 0.5)
    """
    sizes = [abs(difference) for difference in differences if difference]
    probabilities = np.ones(1)  # of sums -reach, -reach + 2, ..., reach
    for size in sorted(set(sizes)):
        count = sizes.count(size)
        some = np.zeros(size * count + 1)
        some[::size] = _coins(count)
        probabilities = np.convolve(probabilities, some)
    reach = sum(sizes)
    sums = np.arange(-reach, reach + 1, 2)
    return min(1.0, float(probabilities[np.abs(sums) >= abs(sum(differences))].sum()))


def _coins(count: int) -> list[float]:
    """Return the probabilities of 0, 1, ..., ``count`` heads in ``count`` fair coin flips."""
    ways, probabilities = 1, []
    for heads in range(count + 1):
        probabilities.append(ways / 2**count)
        ways = ways * (count - heads) // (heads + 1)
    return probabilities


def sign_flip_mean(differences: Sequence[float]) -> float:
    """Compute the two-sided p-value of the sign-flip test of a mean of differences of any size.

    All sign patterns are enumerated up to 16 differences; beyond, 65,536 are drawn.

    >>> sign_flip_mean([0.5, 0.25, 0.125, 1.0]), sign_flip_mean([0.0, 0.0])
    (0.125, 1.0)
    """
    values = np.array([value for value in differences if value])
    if len(values) <= FLIPPED:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(values))))
    else:
        random = np.random.Generator(np.random.Philox(0))
        signs = random.choice((-1, 1), (2**FLIPPED, len(values)))
        signs[0] = 1  # the observed signs are among them, so p is never 0
    sums = np.abs(signs.reshape(len(signs), -1) @ values)
    return float((sums >= abs(values.sum()) * (1 - 1e-9)).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple testing by Holm's step-down method (Holm 1979).

    Args:
        p_values: one per comparison, in any order.

    Returns:
        Adjusted p-values in the same order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def corrected(lines: Sequence[dict[str, Any]], column: str = "p") -> list[dict[str, Any]]:
    """Correct the p-values of a table by Holm, and put their number into the column's name.

    Args:
        lines: rows of the table, column -> value.
        column: name of the column of p-values; None where nothing was compared.

    >>> corrected([{"p": 0.01}, {"p": None}, {"p": 0.04}])
    [{'p (Holm of 2)': 0.02}, {'p (Holm of 2)': None}, {'p (Holm of 2)': 0.04}]
    """
    tested = [line[column] for line in lines if line[column] is not None]
    adjusted = iter(holm(tested))
    name = f"{column} (Holm of {len(tested)})" if tested else column
    corrected_lines = []
    for line in lines:
        p = None if line[column] is None else next(adjusted)
        corrected_lines.append({(name if k == column else k): p if k == column else v
                                for k, v in line.items()})  # fmt: skip
    return corrected_lines
