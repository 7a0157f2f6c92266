"""Intervals. All are 95 %, two-sided."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Z = statistics.NormalDist().inv_cdf(0.975)

STUDENT = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157,
    2.228139, 2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
    2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831,
    2.048407, 2.045230, 2.042272,
)  # fmt: skip
"""The 0.975 quantile of Student's t with 1 to 30 degrees of freedom."""


def student(freedom: int) -> float:
    """The 0.975 quantile of Student's t (above 30 by Cornish and Fisher's expansion).

    >>> round(student(2), 3), round(student(60), 3)
    (4.303, 2.0)
    """
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Of a share of ``n`` items.

    >>> low, high = wilson(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Of the mean of two or more independent values.

    >>> low, high = of_mean([0.5, 0.6, 0.7])
    >>> round(low, 3), round(high, 3)
    (0.352, 0.848)
    """
    mean = statistics.fmean(values)
    half = statistics.stdev(values) / math.sqrt(len(values)) * student(len(values) - 1)
    return mean - half, mean + half


def centred(value: float, chance: float) -> float:
    """A score with chance at 0 and all right at 1.

    >>> round(centred(0.6, 0.2), 3)
    0.5
    """
    return (value - chance) / (1 - chance) if chance < 1 else 0.0
