"""Tests of whether two models differ on the same items, and Holm's correction."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .statistics import change_interval

FLIPPED = 16  # differences whose signs are all tried


@dataclass(frozen=True)
class Paired:
    """A model against another on the same items.

    Args:
        difference: of the means, the first minus the second.
        low, high: its 95 % interval over items.
        better, worse: items that only the first, and only the second, got right.
        p: of the exact McNemar test, two-sided.
    """

    difference: float
    low: float
    high: float
    better: int
    worse: int
    p: float


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare right answers on the same items.

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


def mcnemar(better: int, worse: int) -> float:
    """The two-sided exact p-value that as many discordant pairs fall so unevenly.

    >>> mcnemar(1, 0), mcnemar(10, 0)
    (1.0, 0.001953125)
    """
    below = _coins(better + worse)[: min(better, worse) + 1]
    return min(1.0, 2 * sum(below))


def sign_flip(differences: Sequence[int]) -> float:
    """The two-sided exact p-value that paired differences sum to so much, their signs by chance.

    Of right answers it is McNemar's test, which it extends to sums of several answers an item.

    Args:
        differences: of each item, a small whole number.

    >>> round(sign_flip([1] * 10 + [0] * 5), 6), sign_flip([2, 2, -1])
    (0.001953, 0.5)
    """
    sizes = [abs(difference) for difference in differences if difference]
    chances = np.ones(1)  # of sums -reach, -reach + 2, ..., reach
    for size in sorted(set(sizes)):
        count = sizes.count(size)
        some = np.zeros(size * count + 1)
        some[::size] = _coins(count)
        chances = np.convolve(chances, some)
    reach = sum(sizes)
    sums = np.arange(-reach, reach + 1, 2)
    return min(1.0, float(chances[np.abs(sums) >= abs(sum(differences))].sum()))


def _coins(count: int) -> list[float]:
    """The chances that 0, 1, ..., ``count`` of ``count`` coins show heads."""
    ways, found = 1, []
    for heads in range(count + 1):
        found.append(ways / 2**count)
        ways = ways * (count - heads) // (heads + 1)
    return found


def sign_flip_mean(differences: Sequence[float]) -> float:
    """The same of differences of any size: over all signs, or 65,536 drawn ones of many.

    >>> sign_flip_mean([0.5, 0.25, 0.125, 1.0]), sign_flip_mean([0.0, 0.0])
    (0.125, 1.0)
    """
    values = np.array([value for value in differences if value])
    if len(values) <= FLIPPED:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(values))))
    else:
        random = np.random.Generator(np.random.Philox(0))
        signs = random.choice((-1, 1), (2**FLIPPED, len(values)))
        signs[0] = 1  # those that there are: p is never 0
    sums = np.abs(signs.reshape(len(signs), -1) @ values)
    return float((sums >= abs(values.sum()) * (1 - 1e-9)).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        found[i] = highest
    return found


def corrected(lines: Sequence[dict[str, Any]], column: str = "p") -> list[dict[str, Any]]:
    """Lines of a table whose p-values are corrected for their number, which the column then says.

    >>> corrected([{"p": 0.01}, {"p": None}, {"p": 0.04}])
    [{'p (Holm of 2)': 0.02}, {'p (Holm of 2)': None}, {'p (Holm of 2)': 0.04}]
    """
    tested = [line[column] for line in lines if line[column] is not None]
    fixed = iter(holm(tested))
    name = f"{column} (Holm of {len(tested)})" if tested else column
    found = []
    for line in lines:
        p = None if line[column] is None else next(fixed)
        found.append({(name if k == column else k): p if k == column else v
                      for k, v in line.items()})  # fmt: skip
    return found
