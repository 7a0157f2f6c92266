"""Intervals and tests: how sure a number is, and whether two models differ on the same items."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..primitives.errors import InputError

Array = NDArray[np.float64]
FLIPPED = 16  # differences whose signs are all tried
DRAWS = 2000  # of a bootstrap
FEWEST = 8  # items: an interval from fewer says nothing


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean of accuracies over seeds, by Student's t, within 0 and 1.

    >>> low, high = interval([0.5, 0.6, 0.7])
    >>> round(low, 3), round(high, 3)
    (0.352, 0.848)
    """
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = statistics.stdev(values) / len(values) ** 0.5 * float(t.ppf(0.975, len(values) - 1))
    return max(0.0, mean - half), min(1.0, mean + half)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion of ``n`` items (Wilson).

    >>> low, high = wilson(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    return middle - half, middle + half


def check_items(n: int, what: str = "items") -> None:
    """Refuse too few items for an interval, before the slow part.

    Raises:
        InputError: saying how many are needed.
    """
    if n < FEWEST:
        raise InputError(f"an interval needs at least {FEWEST} {what}, not {n}")


def bootstrap(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of a mean over items drawn with replacement.

    >>> low, high = bootstrap([0.0, 1.0] * 50)
    >>> round(low, 1), round(high, 1)
    (0.4, 0.6)
    """
    low, high = bootstrap_columns(np.asarray(values, dtype=np.float64)[:, None], seed)
    return float(low[0]), float(high[0])


def bootstrap_columns(values: Array, seed: int = 0) -> tuple[Array, Array]:
    """The same for every column of ``(items, columns)``, with the same items drawn for all."""
    low, high = np.quantile(bootstrap_means(values, seed), [0.025, 0.975], axis=0)
    return low, high


def bootstrap_means(values: Array, seed: int = 0) -> Array:
    """The mean of every column of ``(items, columns)`` in each draw: ``(draws, columns)``."""
    means: Array = _counts(len(values), seed) @ values / len(values)
    return means


@lru_cache(maxsize=4)
def _counts(items: int, seed: int) -> Array:
    """How often each item is drawn: ``(draws, items)``."""
    random = np.random.Generator(np.random.Philox(seed))
    return random.multinomial(items, np.full(items, 1 / items), size=DRAWS).astype(np.float64)


@dataclass(frozen=True)
class Paired:
    """A model against another on the same items.

    Args:
        difference: of the means, the first minus the second.
        low, high: its 95 % interval, by bootstrap over items.
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
    low, high = bootstrap(changes)
    mean = statistics.fmean(changes)
    return Paired(mean, low, high, better, worse, mcnemar(better, worse))


def mcnemar(better: int, worse: int) -> float:
    """The two-sided exact p-value that as many discordant pairs fall so unevenly.

    >>> mcnemar(1, 0), mcnemar(10, 0)
    (1.0, 0.001953125)
    """
    from scipy.stats import binomtest

    if better + worse == 0:
        return 1.0
    return float(binomtest(better, better + worse, 0.5).pvalue)


def sign_flip(differences: Sequence[int]) -> float:
    """The two-sided exact p-value that paired differences sum to so much, their signs by chance.

    Of right answers it is McNemar's test, which it extends to sums of several answers an item.

    Args:
        differences: of each item, a small whole number.

    >>> round(sign_flip([1] * 10 + [0] * 5), 6), sign_flip([2, 2, -1])
    (0.001953, 0.5)
    """
    from scipy.stats import binom

    sizes = [abs(difference) for difference in differences if difference]
    chances = np.ones(1)  # of sums -reach, -reach + 2, ..., reach
    for size in sorted(set(sizes)):
        count = sizes.count(size)
        some = np.zeros(size * count + 1)
        some[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, some)
    reach = sum(sizes)
    sums = np.arange(-reach, reach + 1, 2)
    return min(1.0, float(chances[np.abs(sums) >= abs(sum(differences))].sum()))


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
