"""Two-sided 95 % confidence intervals, one implementation of each for the whole package.

``docs/statistics.md`` lists which number has which interval, and the measured coverage of each.
Values without spread have no interval, except shares of right answers. The argument ``within`` is
the range of a bounded quantity; intervals are clipped to it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Array = NDArray[np.float64]
Interval = tuple[float, float]
Tasks = Sequence[Sequence[float] | Array]
"""task -> one number per item."""

Z = statistics.NormalDist().inv_cdf(0.975)
DRAWS = 2000  # bootstrap draws
FEWEST = 8  # items that an interval needs
SHARE = (0.0, 1.0)  # range of a share
SIZE = (0.0, math.inf)  # range of a norm, a loss, a divergence
CHANGE = (-1.0, 1.0)  # range of a difference of shares

STUDENT = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157,
    2.228139, 2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
    2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831,
    2.048407, 2.045230, 2.042272,
)  # fmt: skip
"""0.975 quantiles of Student's t for 1 to 30 degrees of freedom."""


def student(freedom: int) -> float:
    """Return the 0.975 quantile of Student's t (above 30 by the Cornish-Fisher expansion).

    Args:
        freedom: degrees of freedom, 1 or more.

    >>> round(student(2), 3), round(student(60), 3)
    (4.303, 2.0)
    """
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def share_interval(
    value: float, n: float | None = None, stderr: float | None = None
) -> Interval | None:
    """Compute the interval of a share of right answers: Wilson's, with continuity correction.

    Formula: Newcombe 1998, "Two-sided confidence intervals for the single proportion", method 4.

    Args:
        value: the share, or a mean of shares of several tasks.
        n: number of answers.
        stderr: standard error of ``value``. If given, ``n`` is replaced by the number of
            independent answers with this error (effective sample size of Korn and Graubard
            1998), which also covers a mean over tasks.

    Returns:
        None where neither ``n`` nor a positive ``stderr`` is known.

    >>> low, high = share_interval(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.399, 0.601)
    >>> low, high = share_interval(1.0, 8)
    >>> round(low, 3), high
    (0.598, 1.0)
    """
    if stderr and 0 < value < 1:
        n = value * (1 - value) / max(stderr**2, 1e-200) + 1
    if not n:
        return None
    wrong, square, down = 1 - value, Z * Z, 0.0
    middle, scale, up = 2 * n * value + square, 2 * (n + square), 1.0
    if value > 0:
        root = square - 2 - 1 / n + 4 * value * (n * wrong + 1)
        down = max(0.0, (middle - 1 - Z * math.sqrt(max(0.0, root))) / scale)
    if value < 1:
        root = square + 2 - 1 / n + 4 * value * (n * wrong - 1)
        up = min(1.0, (middle + 1 + Z * math.sqrt(max(0.0, root))) / scale)
    return min(down, value), max(up, value)


def seeds_interval(values: Sequence[float], within: Interval | None = None) -> Interval | None:
    """Compute the interval of a mean of a few independent values, one per seed: Student's t.

    Returns:
        None for values without spread, or fewer than two.

    >>> low, high = seeds_interval([0.5, 0.6, 0.7])
    >>> round(low, 3), round(high, 3)
    (0.352, 0.848)
    """
    if len(values) < 2:
        return None
    error = statistics.stdev(values) / math.sqrt(len(values))
    return error_interval(statistics.fmean(values), error, len(values), within)


def error_interval(
    value: float, stderr: float, n: int | None = None, within: Interval | None = None
) -> Interval | None:
    """Compute the interval of a mean with a known standard error.

    Args:
        value: the mean.
        stderr: its standard error.
        n: number of values, for Student's t; None for the normal distribution.
        within: range of the quantity.

    Returns:
        None for an error of 0 (up to rounding), or a single value.

    >>> low, high = error_interval(2.0, 0.1)
    >>> round(low, 3), round(high, 3)
    (1.804, 2.196)
    """
    if n == 1 or not stderr > 1e-12 * abs(value):
        return None
    half = (student(n - 1) if n else Z) * stderr
    return clipped((value - half, value + half), within)


def clipped(interval: Interval, within: Interval | None) -> Interval:
    """Clip an interval to the range of its quantity; None for no bounds.

    >>> clipped((-0.1, 0.4), (0.0, 1.0))
    (0.0, 0.4)
    """
    if within is None:
        return interval
    low, high = interval
    return min(max(low, within[0]), within[1]), max(min(high, within[1]), within[0])


def mean_interval(values: Sequence[float], within: Interval | None = None) -> Interval | None:
    """Compute the interval of a mean of continuous values; see :func:`mean_intervals`.

    >>> low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    >>> low < 4.5 < high
    True
    """
    low, high = mean_intervals(np.asarray(values, dtype=np.float64)[:, None], within)
    return None if np.isnan(low[0]) else (float(low[0]), float(high[0]))


def mean_intervals(values: Array, within: Interval | None = None) -> tuple[Array, Array]:
    """Compute the interval of the mean of each column of ``(values, columns)``.

    Each end is the wider of two: Student's t, and the studentised (bootstrap-t) interval of Efron
    and Tibshirani 1993, chapter 12, which follows the skew of a few large values.

    Returns:
        Lower and upper ends, ``(columns,)`` each; NaN for a column without spread.

    >>> low, high = mean_intervals(np.array([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0], [3.0, 2.0]]))
    >>> bool(low[0] < 2.5 < high[0]), bool(np.isnan(low[1]))
    (True, True)
    """
    return ratio_intervals(values, np.ones(len(values)), within)


def ratio_intervals(
    numerators: Array, denominators: Array, within: Interval | None = None
) -> tuple[Array, Array]:
    """Compute intervals of sum of numerators / sum of denominators, such as nats per token.

    Student's t and the studentised bootstrap as in :func:`mean_intervals`, with the linearised
    standard error of a ratio. The bootstrap draws the same rows for all columns.

    Args:
        numerators: ``(rows, columns)``; rows are the sampled units, such as documents.
        denominators: ``(rows,)``, above 0.

    Returns:
        Lower and upper ends, ``(columns,)`` each; NaN for a column without spread.
    """
    n, sizes = len(numerators), denominators[:, None]
    if n < 2:
        undefined = np.full(numerators.shape[1], np.nan)
        return undefined, undefined
    ratios, off, error = _ratios(numerators, sizes)
    spread = error > 1e-12 * np.abs(numerators).max(0) * n / sizes.sum()
    counts = _counts(n)
    drawn = counts @ sizes
    shift = (counts @ off) / drawn
    squares = counts @ off**2 - 2 * shift * (counts @ (off * sizes))
    squares += shift**2 * (counts @ sizes**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_error = np.sqrt(np.maximum(squares, 0.0) * n / (n - 1)) / drawn
        studentised = shift / drawn_error
    studentised[drawn_error <= 1e-6 * error] = 0.0  # all drawn rows equal: no scale
    below, above = np.quantile(studentised, [0.025, 0.975], axis=0)
    t = student(n - 1)
    low = ratios - np.maximum(above, t) * error
    high = ratios + np.maximum(-below, t) * error
    if within is not None:
        low, high = np.clip(low, *within), np.clip(high, *within)
    return np.where(spread, low, np.nan), np.where(spread, high, np.nan)


def _ratios(numerators: Array, sizes: Array) -> tuple[Array, Array, Array]:
    """Return ratios ``(columns,)``, residuals ``(rows, columns)`` and standard errors."""
    n = len(numerators)
    ratios: Array = numerators.sum(0) / sizes.sum()
    off: Array = numerators - ratios * sizes
    return ratios, off, np.sqrt((off**2).sum(0) * n / max(1, n - 1)) / sizes.sum()


def ratio_error(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Compute the linearised standard error of a ratio of sums (the ratio estimator's).

    Args:
        numerators, denominators: one number per sampled unit, such as nats and tokens per document.

    >>> round(ratio_error([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]), 3)
    0.382
    """
    columns = [np.asarray(part, dtype=np.float64)[:, None] for part in (numerators, denominators)]
    return float(_ratios(columns[0], columns[1])[2][0])


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], within: Interval | None = None
) -> Interval | None:
    """Compute the interval of one ratio; see :func:`ratio_intervals`. None without spread."""
    rows = np.asarray(numerators, dtype=np.float64)[:, None]
    low, high = ratio_intervals(rows, np.asarray(denominators, dtype=np.float64), within)
    return None if np.isnan(low[0]) else (float(low[0]), float(high[0]))


@lru_cache(maxsize=4)
def _counts(rows: int) -> Array:
    """Draw how often each row is in each bootstrap sample: ``(draws, rows)``."""
    random = np.random.Generator(np.random.Philox(0))
    return random.multinomial(rows, np.full(rows, 1 / rows), size=DRAWS).astype(np.float64)


def jackknife_error(values: Array, statistic: Callable[[Array], Any]) -> float:
    """Compute the jackknife standard error of a smooth statistic of the mean row.

    :func:`error_interval` makes an interval of it.

    Args:
        values: ``(rows, columns)``; rows are the sampled units, such as prompts.
        statistic: function of mean rows, ``(..., columns)`` -> ``(...)``.

    Returns:
        NaN if the statistic is undefined when one of the rows is left out.

    >>> rows = np.array([[1.0], [2.0], [3.0], [4.0]])  # of a mean: its standard error
    >>> round(jackknife_error(rows, lambda mean: mean[..., 0]), 4)
    0.6455
    """
    n = len(values)
    left = np.asarray(statistic((values.sum(0) - values) / max(1, n - 1)), dtype=np.float64)
    return math.sqrt((n - 1) / n * float(((left - left.mean()) ** 2).sum()))


def change_interval(tasks: Tasks) -> Interval:
    """Compute the interval of a mean difference of answers to the same items.

    The mean is taken within each task, then over tasks. Two items are added, one with difference 1
    and one with -1, so that few or no discordant answers have an interval too (Bonett and Price
    2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data").

    Args:
        tasks: per task one difference per item, from -1 to 1.

    >>> low, high = change_interval([[0.0] * 98])
    >>> round(low, 3), round(high, 3)
    (-0.028, 0.028)
    """
    columns = [np.asarray(task, dtype=np.float64)[:, None] for task in tasks]
    n, means, squares = _scatter(columns)
    mean, square = float(means[0]), float(squares[0, 0])
    error = math.sqrt(square + 2 + 2 * n * mean**2 / (n + 2)) / (n + 2)
    middle = mean * n / (n + 2)
    return clipped((middle - Z * error, middle + Z * error), CHANGE)


def quotient_interval(numerators: Tasks, denominators: Tasks) -> Interval | None:
    """Compute Fieller's interval of the quotient of two mean differences on the same items.

    Used for the share of a gap that a looped model closes: (loop - small) / (large - small).

    Args:
        numerators, denominators: as ``tasks`` of :func:`change_interval`, item by item.

    Returns:
        None where the denominator may be 0, so that the interval is unbounded.

    >>> low, high = quotient_interval([[1, 0, 1, 0] * 25], [[1, 1, 1, 0] * 25])
    >>> round(low, 3), round(high, 3)  # 0.5 / 0.75
    (0.552, 0.781)
    """
    pairs = [
        np.stack(pair, axis=1).astype(np.float64)
        for pair in zip(numerators, denominators, strict=True)
    ]
    n, (top, bottom), squares = _scatter(pairs)
    added = 2 * n / (n + 2)  # by the two added items, which only the numerator has
    squares = squares + added * np.outer((top, bottom), (top, bottom))
    squares[0, 0] += 2
    squares = Z**2 * squares / n**2
    a, b, c = bottom**2 - squares[1, 1], top * bottom - squares[0, 1], top**2 - squares[0, 0]
    if a <= 0:
        return None
    half = math.sqrt(max(0.0, b * b - a * c))
    return float((b - half) / a), float((b + half) / a)


def _scatter(tasks: Sequence[Array]) -> tuple[int, Array, Array]:
    """Compute the mean over tasks of the tasks' means, and the scatter around the tasks' means.

    Args:
        tasks: ``(items, columns)`` each.

    Returns:
        Number of items in all; means, ``(columns,)``; scatter, ``(columns, columns)``, scaled as if
        all items were of one task.
    """
    total, columns = sum(map(len, tasks)), tasks[0].shape[1]
    squares = np.zeros((columns, columns))
    for task in tasks:
        n = len(task)
        off = (task - task.mean(0)) * total / (len(tasks) * n)
        squares += off.T @ off * n / max(1, n - 1)
    return total, np.mean([task.mean(0) for task in tasks], axis=0), squares


def sum_interval(terms: Sequence[tuple[float, float, Interval]]) -> Interval:
    """Compute the interval of a weighted sum of independent numbers.

    The half-widths of the terms, on each side, are added in squares (Zou and Donner 2008, the
    method of variance estimates recovery).

    Args:
        terms: (weight, value, interval) of each term.

    >>> low, high = sum_interval([(1, 1.0, (0.9, 1.0)), (-1, 0.0, (0.0, 0.1))])
    >>> round(low, 3), high
    (0.859, 1.0)
    """
    value = sum(weight * number for weight, number, _ in terms)
    ends = [
        sorted((weight * (low - number), weight * (high - number)))
        for weight, number, (low, high) in terms
    ]
    return value - math.hypot(*(low for low, _ in ends)), value + math.hypot(*(h for _, h in ends))


def ends(interval: Interval | None, before: str = "") -> dict[str, float | None]:
    """Return an interval as fields ``low`` and ``high`` of a table row; None for no interval.

    >>> ends((0.25, 0.5), "gain_"), ends(None)
    ({'gain_low': 0.25, 'gain_high': 0.5}, {'low': None, 'high': None})
    """
    low, high = interval or (None, None)
    return {f"{before}low": low, f"{before}high": high}


def interval_pairs(intervals: tuple[Array, Array]) -> list[Interval | None]:
    """Pair the lower and upper ends ``(n,)`` of several intervals; None where they are NaN."""
    pairs = zip(intervals[0].tolist(), intervals[1].tolist(), strict=True)
    return [None if math.isnan(low) else (low, high) for low, high in pairs]


def check_items(n: int, what: str = "items") -> None:
    """Refuse fewer than :data:`FEWEST` items, before the slow part of a study.

    Raises:
        InputError: saying how many are needed.
    """
    if n < FEWEST:
        raise InputError(f"an interval needs at least {FEWEST} {what}, not {n}")
