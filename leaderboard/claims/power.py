"""Power of the claims: the runs that would decide a comparison, and what the records could show.

The rule of :mod:`.effects` is applied to simulated repeats of the experiment: per training run
a normal effect with the spread observed between runs, Student's interval over runs. Both numbers
take the observed spread as the true one; the spread of two or three runs is itself uncertain.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ...core.statistics import Array, Z, student
from .effects import Effect, Verdict, contradicts, supports

POWER = 0.8  # share of repeats in which the rule decides
REPEATS = 20_000  # simulated repeats of an experiment
MOST = 1000  # runs, or times as many items, that are tried
AFFORDABLE_ITEMS = 10  # times as many items that an evaluation can ask

Outlook = Literal["decided", "decidable", "not decidable here", "unknown"]


@dataclass(frozen=True)
class Power:
    """Power of a comparison.

    Args:
        effect: the estimate.
        outlook: ``decided`` already; ``decidable`` by an affordable number; ``not decidable here``;
            ``unknown`` without a spread.
        why: reason in words.
        spread: standard deviation between runs; for statements about one model the standard
            error over items. In the unit of the effect.
        detectable: smallest true effect that as many runs and items would show (verdict
            ``supported``) in four of five repeats; None if that is more than is possible.
        needed: runs of each model that decide an effect as large as observed in four of five
            repeats; for statements about one model, times as many items. None above 1,000.
        needed_with_many_items: the same runs if the error over items were 0; None where
            unknown, or above 1,000.
    """

    effect: Effect
    outlook: Outlook
    why: str
    spread: float | None = None
    detectable: float | None = None
    needed: int | None = None
    needed_with_many_items: int | None = None


def comparison_power(effect: Effect, affordable: int = 10) -> Power:
    """Estimate the power of a comparison from its records.

    Args:
        effect: estimate of :func:`.verdicts.comparison_effect`.
        affordable: runs of each model that can be made at this scale.

    Example::

        for finding in evaluate_claims(records, CLAIMS):
            for effect in finding.effects:
                print(comparison_power(effect).why)
    """
    if effect.value is None:
        return Power(effect, "unknown", effect.why)
    if effect.comparison.quantity == "training_flops":
        outlook: Outlook = "unknown" if effect.verdict == "undecided" else "decided"
        return Power(effect, outlook, "counted, not sampled: it has no spread")
    if effect.comparison.unit == "items":
        return _over_items(effect)
    if effect.runs < 2:
        return Power(effect, "unknown", "one run of each: the spread needs a second")
    return _over_runs(effect, affordable)


def claim_outlook(powers: Sequence[Power], verdict: Verdict) -> Outlook:
    """Combine the outlooks of a claim's comparisons.

    A claim is supported by all of its comparisons and contradicted by one: it is decidable if all
    of them are, or one whose effect as observed contradicts it.

    Args:
        powers: one per comparison of the claim.
        verdict: verdict of the claim.
    """
    if verdict in ("supported", "contradicted"):
        return "decided"
    undecided = [power for power in powers if power.outlook != "decided"]
    against = [
        power
        for power in undecided
        if power.effect.value is not None and power.effect.value < power.effect.comparison.least
    ]
    outlooks = [power.outlook for power in undecided]
    if "decidable" in [power.outlook for power in against] or set(outlooks) <= {"decidable"}:
        return "decidable"
    return "not decidable here" if "not decidable here" in outlooks else "unknown"


def _over_runs(effect: Effect, affordable: int) -> Power:
    least, value = effect.comparison.least, statistics.fmean(effect.by_run)
    spread = statistics.stdev(effect.by_run)
    if not spread > 1e-12:
        return Power(effect, "unknown", "the runs do not differ: no spread", 0.0)
    of_items = (effect.item_error or 0.0) ** 2 * effect.runs  # of one run
    without_items = math.sqrt(max(0.0, spread**2 - of_items))
    needed = needed_runs(value, spread, least)
    many = None
    if effect.item_error:
        many = needed_runs(value, max(without_items, 1e-9), least)
    detectable = _possible(effect, detectable_effect(effect.runs, spread, least))
    outlook = _outlook(effect, needed, affordable)
    count = f"more than {MOST}" if needed is None else str(needed)
    why = f"an effect as observed ({value:+.3f}, spread {spread:.3f}) needs {count} runs"
    if outlook == "not decidable here":
        why += f", more than the {affordable} that are affordable"
    return Power(effect, outlook, why, spread, detectable, needed, many)


def _over_items(effect: Effect) -> Power:
    assert effect.value is not None
    error, least = effect.item_error, effect.comparison.least
    if not error:
        return Power(effect, "unknown", "the records have no errors over items")

    def decided(factor: int, value: float) -> tuple[float, float]:
        return _decided_over_items(value, error / math.sqrt(factor), least)

    needed = _smallest(lambda factor: sum(decided(factor, effect.value or 0.0)) >= POWER)
    smallest = _bisect(lambda value: decided(1, value)[0] >= POWER, error, least)
    detectable = _possible(effect, smallest)
    outlook = _outlook(effect, needed, AFFORDABLE_ITEMS)
    count = f"more than {MOST}" if needed is None else str(needed)
    why = f"an effect as observed ({effect.value:+.3f}) needs {count} times as many items"
    if outlook == "not decidable here":
        why += f", more than the {AFFORDABLE_ITEMS} times that are affordable"
    return Power(effect, outlook, why, error, detectable, needed)


def _possible(effect: Effect, value: float) -> float | None:
    """Return an effect if it is in the range of the quantity, else None."""
    return None if effect.within is not None and value > effect.within[1] else value


def _outlook(effect: Effect, needed: int | None, affordable: int) -> Outlook:
    if effect.verdict in ("supported", "contradicted"):
        return "decided"
    return "not decidable here" if needed is None or needed > affordable else "decidable"


def needed_runs(value: float, spread: float, least: float) -> int | None:
    """Count the runs that decide a comparison in four of five repeats; None above 1,000.

    Args:
        value: true effect.
        spread: standard deviation between runs.
        least: smallest effect of interest.

    >>> needed_runs(0.1, 0.05, 0.01), needed_runs(0.01, 0.05, 0.01)
    (5, None)
    """
    return _smallest(lambda n: n > 1 and sum(decision_shares(n, value, spread, least)) >= POWER)


def detectable_effect(runs: int, spread: float, least: float) -> float:
    """Return the smallest true effect that is found ``supported`` in four of five repeats.

    >>> round(detectable_effect(5, 0.05, 0.01), 2)
    0.08
    """
    return _bisect(
        lambda value: decision_shares(runs, value, spread, least)[0] >= POWER, spread, least
    )


def decision_shares(runs: int, value: float, spread: float, least: float) -> tuple[float, float]:
    """Return the shares of repeats that end as ``supported`` and as ``contradicted``.

    Args:
        runs: of each model, 2 or more.
        value: true effect.
        spread: standard deviation between runs.
        least: smallest effect of interest.
    """
    normal, scale = _repeats(runs)
    root = math.sqrt(runs)
    means = value + spread * normal / root
    half = student(runs - 1) * spread * scale / root
    return (
        float(np.mean(supports(means, means - half, least))),
        float(np.mean(contradicts(means + half, least))),
    )


def _decided_over_items(value: float, error: float, least: float) -> tuple[float, float]:
    """Return the shares as :func:`decision_shares`, for a known error of the mean."""
    means = value + error * _repeats(2)[0]
    return (
        float(np.mean(supports(means, means - Z * error, least))),
        float(np.mean(contradicts(means + Z * error, least))),
    )


@lru_cache(maxsize=64)
def _repeats(runs: int) -> tuple[Array, Array]:
    """Draw, per repeat, the standard mean and the estimated spread over the true one."""
    random = np.random.Generator(np.random.Philox(0))
    squares = random.chisquare(runs - 1, REPEATS) / (runs - 1)
    return random.standard_normal(REPEATS), np.sqrt(squares)


def _smallest(enough: Callable[[int], bool]) -> int | None:
    """Return the smallest count up to ``MOST`` that is enough; None if none is."""
    high = 1
    while not enough(high):
        if high == MOST:
            return None
        high = min(2 * high, MOST)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _bisect(shown: Callable[[float], bool], scale: float, least: float) -> float:
    """Return the smallest effect that is shown, to a thousandth of the scale."""
    low = least
    high = abs(least) + scale
    while not shown(high):
        high *= 2
    while high - low > scale / 1000:
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high
