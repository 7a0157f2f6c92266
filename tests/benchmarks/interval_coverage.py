"""How often each 95 % interval holds the true value, in simulated samples.

``python -m tests.benchmarks.interval_coverage`` prints the table of ``docs/statistics.md`` (half a
minute on one core). Each function draws a sample of ``n`` and says whether the interval holds what
it estimates.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
from growloop.core.statistics import (
    SHARE,
    change_interval,
    error_interval,
    jackknife_error,
    mean_intervals,
    quotient_interval,
    ratio_interval,
    seeds_interval,
    share_interval,
    sum_interval,
)
from growloop.models.diagnostics.periodicity import periodicity
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]
SIZES = (8, 16, 32, 200)
STUDIES = 2000


def holds(interval: tuple[float, float] | None, true: float) -> bool:
    return interval is not None and interval[0] - 1e-9 <= true <= interval[1] + 1e-9


Case = Callable[[int, Generator], bool]
Draw = Callable[[Generator, tuple[int, ...]], Array]
CONTINUOUS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda random, shape: random.normal(1, 1, shape), 1.0),
    "exponential": (lambda random, shape: random.exponential(1, shape), 1.0),
    "lognormal": (lambda random, shape: random.lognormal(0, 1, shape), math.exp(0.5)),
    "skewed share": (lambda random, shape: random.beta(8, 1, shape), 8 / 9),
    "share of 5": (lambda random, shape: random.binomial(5, 0.9, shape) / 5, 0.9),
    "30 % lognormal, else 0": (
        lambda random, shape: random.lognormal(0, 1, shape) * (random.random(shape) < 0.3),
        0.3 * math.exp(0.5),
    ),
}


def means(name: str, n: int, studies: int, random: Generator) -> float:
    """The mean of texts; all studies as columns."""
    draw, true = CONTINUOUS[name]
    low, high = mean_intervals(draw(random, (n, studies)))
    return float(((low <= true) & (true <= high)).mean())


def ratios(n: int, random: Generator) -> bool:
    """Nats a token: documents of lognormal length, and a difference a token of their own."""
    tokens = np.ceil(random.lognormal(5, 1, n))
    return holds(ratio_interval(tokens * random.normal(0.1, 0.3, n), tokens), 0.1)


def depths(n: int, random: Generator) -> bool:
    """Depth score of 12 steps whose effects are lognormal from text to text."""
    effects = np.exp(-0.2 * np.arange(12))
    texts = effects * random.lognormal(0, 1, (n, 1)) * random.lognormal(0, 0.5, (n, 12))
    true = float((effects * np.arange(12)).sum() / effects.sum())
    return holds(ratio_interval(texts @ np.arange(12), texts.sum(1), (0.0, 11.0)), true)


def recurs(n: int, random: Generator) -> bool:
    """Periodicity of contributions of 24 steps in blocks of 4."""
    profile = np.exp(0.4 * np.sin(np.pi * np.arange(24) / 2) + 0.3 * np.cos(np.arange(24) ** 2))
    texts = profile * random.lognormal(-0.125, 0.5, (n, 24))

    def statistic(mean: Array) -> Array:
        return periodicity(mean, 4)

    value = float(statistic(texts.mean(0)))
    found = error_interval(value, jackknife_error(texts, statistic), n, (-1.0, 1.0))
    return holds(found, float(statistic(profile)))


def record(n: int, random: Generator) -> bool:
    """A lognormal mean of which a record has nothing but its standard error."""
    texts = random.lognormal(0, 1, n)
    error = float(texts.std(ddof=1)) / math.sqrt(n)
    return holds(error_interval(float(texts.mean()), error, n), math.exp(0.5))


def share(true: float) -> Case:
    """Right answers to one task."""
    return lambda n, random: holds(share_interval(random.binomial(n, true) / n, n), true)


def shares(true: Array) -> Case:
    """The mean of several tasks."""

    def one(n: int, random: Generator) -> bool:
        found = random.binomial(n, true) / n
        stderr = math.sqrt((found * (1 - found) / (n - 1)).sum()) / len(true)
        interval = share_interval(float(found.mean()), n * len(true), stderr)
        return holds(interval, float(true.mean()))

    return one


def change(better: float, worse: float, tasks: int = 1) -> Case:
    """Two models on the same items, ties for the rest."""
    chances = [better, worse, 1 - better - worse]

    def one(n: int, random: Generator) -> bool:
        found = random.choice([1.0, -1.0, 0.0], (tasks, n), p=chances)
        return holds(change_interval(list(found)), better - worse)

    return one


def gains(n: int, random: Generator) -> bool:
    """The mean of three seeds on the same items, some harder than others."""
    easy = random.beta(0.5, 0.5, n)
    before = random.random((3, n)) < 0.8 * easy
    after = random.random((3, n)) < 0.8 * easy + 0.1
    return holds(change_interval([(after.astype(float) - before).mean(0)]), 0.1)


def gap(low: float, middle: float, high: float) -> Case:
    """A gap closed; one that is not clear is refused, which counts as right."""

    def one(n: int, random: Generator) -> bool:
        own = random.random((3, n))
        shared = random.random(n)
        right = np.where(random.random((3, n)) < 0.7, shared, own) < [[low], [middle], [high]]
        a, b, c = right.astype(float)
        whole = change_interval([c - a])
        found = quotient_interval([b - a], [c - a])
        if found is None or whole[0] <= 0 <= whole[1]:
            return True
        return holds(found, (middle - low) / (high - low))

    return one


def claim(first: float, second: float) -> Case:
    """The difference of two shares of other items."""

    def one(n: int, random: Generator) -> bool:
        sides = [random.binomial(n, true) / n for true in (first, second)]
        ends = [share_interval(side, n) or SHARE for side in sides]
        found = sum_interval([(1, sides[0], ends[0]), (-1, sides[1], ends[1])])
        return holds(found, first - second)

    return one


def seeds(n: int, random: Generator) -> bool:
    """Accuracies of a few trainings, or seeds."""
    return holds(seeds_interval(random.normal(0.6, 0.02, n).tolist(), SHARE), 0.6)


CASES: dict[str, Case] = {
    "nats a token, documents of any length": ratios,
    "record's mean, lognormal": record,
    "depth score": depths,
    "periodicity": recurs,
    **{f"share of {p:g}": share(p) for p in (0.5, 0.9, 0.98, 0.998)},
    "mean of 5 shares of 0.02 to 0.98": shares(np.linspace(0.02, 0.98, 5)),
    "mean of 5 shares of 0.97": shares(np.full(5, 0.97)),
    "paired, 20 % better, 20 % worse": change(0.2, 0.2),
    "paired, 2 % better, 0.2 % worse": change(0.02, 0.002),
    "paired, 90 % better, 2 % worse": change(0.9, 0.02),
    "paired, 5 tasks, 20 % and 10 %": change(0.2, 0.1, 5),
    "paired, 5 tasks, 2 % and 2 %": change(0.02, 0.02, 5),
    "paired, mean of 3 seeds": gains,
    "gap closed of 0.3, 0.5, 0.7": gap(0.3, 0.5, 0.7),
    "gap closed of 0.05, 0.5, 0.95": gap(0.05, 0.5, 0.95),
    "gap closed of 0.1, 0.1, 0.9": gap(0.1, 0.1, 0.9),
    "difference of 0.9 and 0.8": claim(0.9, 0.8),
    "difference of 0.99 and 0.02": claim(0.99, 0.02),
}
SEEDS = (2, 3, 5, 10)


def covered(one: Case, n: int, studies: int, random: Generator) -> float:
    """The share of studies whose interval holds the truth."""
    return sum(one(n, random) for _ in range(studies)) / studies


def main() -> None:
    random = np.random.default_rng(0)
    lines = [("interval", *(f"n = {n}" for n in SIZES)), ("---",) * 5]
    for name in CONTINUOUS:
        found = [f"{100 * means(name, n, STUDIES, random):.1f}" for n in SIZES]
        lines.append((f"mean, {name}", *found))
    for name, one in CASES.items():
        found = [f"{100 * covered(one, n, STUDIES, random):.1f}" for n in SIZES]
        lines.append((name, *found))
    for line in lines:
        print(f"| {' | '.join(line)} |")
    found = (f"{n} seeds {100 * covered(seeds, n, 10 * STUDIES, random):.1f}" for n in SEEDS)
    print("\nseeds, normal: " + ", ".join(found), file=sys.stdout)


if __name__ == "__main__":
    main()
