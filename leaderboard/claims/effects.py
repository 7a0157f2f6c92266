"""Estimate the effect of a comparison from comparable records: value, 95 % interval, verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...core.statistics import (
    Array,
    Interval,
    Z,
    clipped,
    error_interval,
    seeds_interval,
    share_interval,
    sum_interval,
)
from ..item_intervals import range_of
from ..records import SHARES, Record
from .claim import Comparison
from .matching import ComparableGroup

Number = float | Array
Verdict = Literal["supported", "contradicted", "undecided", "not run at this scale"]


@dataclass(frozen=True)
class Effect:
    """Estimated effect of a comparison.

    Args:
        why: reason of the verdict, or what is missing.
        value: estimate, in the unit of the metric; None without comparable records.
        low, high: 95 % interval; None where the records have no standard errors.
        basis: what the interval is over: ``items``, or runs or seeds and how many.
        by_run: estimate of each training run.
        item_error: standard error over items; None where the records have none.
        within: range of possible effects; None where a metric is unbounded.
        runs: number of training runs (seeds) that the estimate averages over.
        groups: number of groups of comparable records.
        records: ids of the records.
    """

    comparison: Comparison
    verdict: Verdict
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0
    groups: int = 0
    records: tuple[str, ...] = ()
    basis: str = ""
    by_run: tuple[float, ...] = ()
    item_error: float | None = None
    within: Interval | None = None


def estimate_effect(comparison: Comparison, groups: Sequence[ComparableGroup]) -> Effect:
    """Estimate the effect: mean over groups, then over study seeds, then over training seeds."""
    ids = tuple(sorted({r.id for group in groups for side in group.sides for r in side}))
    sums: dict[int | None, dict[int | None, list[float]]] = {}
    for group in groups:
        seeds = sums.setdefault(group.training_seed, {}).setdefault(group.seed, [])
        seeds.append(_group_effect(comparison, group))
    by_seed = {
        training_seed: [statistics.fmean(parts) for parts in seeds.values()]
        for training_seed, seeds in sums.items()
    }
    by_run = [statistics.fmean(values) for values in by_seed.values()]
    value = statistics.fmean(by_run)
    interval, basis = None, "items"
    bounds = _effect_range(comparison, groups)
    if comparison.quantity == "training_flops":
        interval, basis = (value, value), "counted, not sampled"
    elif comparison.unit == "runs" and len(by_run) > 1:
        interval, basis = seeds_interval(by_run, bounds), f"{len(by_run)} runs"
    elif comparison.unit == "runs" and len(by_study := next(iter(by_seed.values()))) > 1:
        interval, basis = seeds_interval(by_study, bounds), f"{len(by_study)} seeds of the study"
    if interval is None:
        basis = "items" if basis == "items" else f"items: {basis} do not differ"
        interval = _items_interval(comparison, groups, bounds)
    low, high = interval or (None, None)
    verdict, why = _verdict(comparison, value, low, high, basis, len(by_run))
    if interval is None:
        basis = ""
    over_items = None
    if comparison.quantity == "value":
        over_items = _items_interval(comparison, groups, None)
    return Effect(
        comparison,
        verdict,
        why,
        value,
        low,
        high,
        len(by_run),
        len(groups),
        ids,
        basis,
        tuple(by_run),
        None if over_items is None else (over_items[1] - over_items[0]) / (2 * Z),
        bounds,
    )


def _group_effect(comparison: Comparison, group: ComparableGroup) -> float:
    """Return the weighted sum of a group, or its share of training FLOPs saved."""
    if comparison.quantity == "training_flops":
        # one training run per model, however many scores it has
        models = [{r.model.identity: _flops(r) for r in side} for side in group.sides]
        flops = [statistics.fmean(by_model.values()) for by_model in models]
        return 1 - flops[0] / flops[1]
    return sum(
        weight * statistics.fmean(record.value for record in side)
        for weight, side in zip(_weights(comparison, group), group.sides, strict=True)
    )


def _weights(comparison: Comparison, group: ComparableGroup) -> Iterator[float]:
    """Yield the weight of each term, with the sign flipped where lower is better."""
    for term, side in zip(comparison.terms, group.sides, strict=True):
        yield term.weight if side[0].task.higher_is_better else -term.weight


def _effect_range(comparison: Comparison, groups: Sequence[ComparableGroup]) -> Interval | None:
    """Return the range of possible effects; None where a metric is unbounded."""
    low = high = 0.0
    for weight, side in zip(_weights(comparison, groups[0]), groups[0].sides, strict=True):
        bounds = range_of(side[0].task)
        if bounds is None:
            return None
        ends = sorted(weight * end for end in bounds)
        low, high = low + ends[0], high + ends[1]
    return low, high


def _flops(record: Record) -> float:
    """Return the training FLOPs of a record's model."""
    flops = record.model.training_flops
    assert flops
    return flops


def _items_interval(
    comparison: Comparison, groups: Sequence[ComparableGroup], bounds: Interval | None
) -> Interval | None:
    """Combine the terms' intervals over items, each of a mean over all records of a term."""
    terms = []
    for place, weight in enumerate(_weights(comparison, groups[0])):
        shares = [
            (record, share / len(group.sides[place]))
            for group, share in _group_shares(groups)
            for record in group.sides[place]
        ]
        value = sum(share * record.value for record, share in shares)
        interval = _mean_interval(value, shares)
        if interval is None:
            return None
        terms.append((weight, value, interval))
    return clipped(sum_interval(terms), bounds)


def _group_shares(
    groups: Sequence[ComparableGroup],
) -> Iterator[tuple[ComparableGroup, float]]:
    """Yield each group with its weight in the mean over training seeds, seeds and groups."""
    by_run: dict[int | None, dict[int | None, list[ComparableGroup]]] = {}
    for group in groups:
        by_seed = by_run.setdefault(group.training_seed, {})
        by_seed.setdefault(group.seed, []).append(group)
    for by_seed in by_run.values():
        for same_seed in by_seed.values():
            for group in same_seed:
                yield group, 1 / (len(by_run) * len(by_seed) * len(same_seed))


def _mean_interval(value: float, shares: Sequence[tuple[Record, float]]) -> Interval | None:
    """Return the interval of a weighted mean of records; None if a standard error is missing."""
    errors = [record.stderr for record, _ in shares]
    present = [error for error in errors if error is not None]
    if len(present) < len(errors):
        return None
    stderr = math.hypot(*(share * e for (_, share), e in zip(shares, present, strict=True)))
    items = [record.n for record, _ in shares]
    n = sum(filter(None, items)) if all(items) else None
    task = shares[0][0].task
    if task.metric in SHARES:
        return share_interval(min(1.0, max(0.0, value)), n, stderr)
    return error_interval(value, stderr, n, range_of(task))


def supports(value: Number, low: Number, least: float) -> Any:
    """Tell whether an estimate supports a comparison, elementwise.

    Args:
        value: estimate.
        low: lower end of its interval.
        least: smallest effect of interest.
    """
    return (low > min(least, 0.0)) & (value >= least)


def contradicts(high: Number, least: float) -> Any:
    """Tell whether the upper end of an interval contradicts a comparison, elementwise."""
    return high < least


def _verdict(
    comparison: Comparison,
    value: float,
    low: float | None,
    high: float | None,
    basis: str,
    runs: int,
) -> tuple[Verdict, str]:
    """Return verdict and reason.

    Supported: the whole interval is above ``min(least, 0)`` and the estimate is ``least`` or more.
    Contradicted: the whole interval is below ``least``. A comparison of architectures is undecided
    with a single training seed.
    """
    least = comparison.least
    if low is None or high is None:
        return "undecided", "the records have no standard errors, or nothing in them varies"
    if comparison.unit == "runs" and runs < 2 and comparison.quantity == "value":
        return (
            "undecided",
            f"one run of each: the interval is over {basis}, another may differ",
        )
    bound = min(least, 0.0)
    if supports(value, low, least):
        return (
            "supported",
            f"the interval ({basis}) is above {bound:g}, the effect at least {least:g}",
        )
    if contradicts(high, least):
        return "contradicted", f"the interval ({basis}) is below {least:g}"
    return "undecided", f"the interval ({basis}) allows for both"
