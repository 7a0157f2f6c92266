"""What a comparison comes to in comparable records: its effect, interval and verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ...core.statistics import (
    Interval,
    clipped,
    error_interval,
    seeds_interval,
    share_interval,
    sum_interval,
)
from ..item_intervals import range_of
from ..records import SHARES, Record
from .comparable import Group
from .queries import Comparison

Verdict = Literal["supported", "contradicted", "undecided", "not run at this scale"]


@dataclass(frozen=True)
class Effect:
    """What a comparison came to.

    Args:
        low, high: 95 % interval; None where the records have no standard errors.
        trainings: of each kind of model it rests on.
        groups: sets of comparable records.
        records: ids of the records.
        why: what the verdict rests on, or what is missing.
    """

    comparison: Comparison
    verdict: Verdict
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    trainings: int = 0
    groups: int = 0
    records: tuple[str, ...] = ()


def measured(comparison: Comparison, groups: Sequence[Group]) -> Effect:
    """The effect in comparable records: of their groups, then over seeds, then over trainings."""
    ids = tuple(sorted({r.id for group in groups for side in group.sides for r in side}))
    sums: dict[int | None, dict[int | None, list[float]]] = {}
    for group in groups:
        seeds = sums.setdefault(group.training, {}).setdefault(group.seed, [])
        seeds.append(_sum(comparison, group))
    by_seed = {
        training: [statistics.fmean(parts) for parts in seeds.values()]
        for training, seeds in sums.items()
    }
    by_training = [statistics.fmean(values) for values in by_seed.values()]
    value = statistics.fmean(by_training)
    interval, basis = None, "items"
    within = _range(comparison, groups)
    if comparison.of == "training_flops":
        interval, basis = (value, value), "counted, not sampled"
    elif comparison.unit == "trainings" and len(by_training) > 1:
        interval, basis = seeds_interval(by_training, within), f"{len(by_training)} trainings"
    elif comparison.unit == "trainings" and len(repeats := next(iter(by_seed.values()))) > 1:
        interval, basis = seeds_interval(repeats, within), f"{len(repeats)} seeds of the study"
    if interval is None:
        basis = "items" if basis == "items" else f"items: {basis} do not differ"
        interval = _over_items(comparison, groups, within)
    low, high = interval or (None, None)
    verdict, why = _verdict(comparison, value, low, high, basis, len(by_training))
    return Effect(comparison, verdict, why, value, low, high, len(by_training), len(groups), ids)


def _sum(comparison: Comparison, group: Group) -> float:
    """The effect in a group."""
    if comparison.of == "training_flops":
        # a model has one training, however many scores
        models = [{r.model.identity: _flops(r) for r in side} for side in group.sides]
        flops = [statistics.fmean(found.values()) for found in models]
        return 1 - flops[0] / flops[1]
    return sum(
        weight * statistics.fmean(record.value for record in side)
        for weight, side in zip(_weights(comparison, group), group.sides, strict=True)
    )


def _weights(comparison: Comparison, group: Group) -> Iterator[float]:
    """The weight of each term, below 0 where less is better."""
    for term, side in zip(comparison.terms, group.sides, strict=True):
        yield term.weight if side[0].task.higher_is_better else -term.weight


def _range(comparison: Comparison, groups: Sequence[Group]) -> Interval | None:
    """How far the effect may lie; None where a metric has no bounds."""
    low = high = 0.0
    for weight, side in zip(_weights(comparison, groups[0]), groups[0].sides, strict=True):
        within = range_of(side[0].task)
        if within is None:
            return None
        ends = sorted(weight * end for end in within)
        low, high = low + ends[0], high + ends[1]
    return low, high


def _flops(record: Record) -> float:
    found = record.model.training_flops
    assert found
    return found


def _over_items(
    comparison: Comparison, groups: Sequence[Group], within: Interval | None
) -> Interval | None:
    """From the intervals of the terms, each of a mean over all its records."""
    terms = []
    for place, weight in enumerate(_weights(comparison, groups[0])):
        shares = [
            (record, share / len(group.sides[place]))
            for group, share in _shares(groups)
            for record in group.sides[place]
        ]
        value = sum(share * record.value for record, share in shares)
        interval = _mean_interval(value, shares)
        if interval is None:
            return None
        terms.append((weight, value, interval))
    return clipped(sum_interval(terms), within)


def _shares(groups: Sequence[Group]) -> Iterator[tuple[Group, float]]:
    """What each group counts in the mean over trainings of means over seeds of means."""
    trainings: dict[int | None, dict[int | None, list[Group]]] = {}
    for group in groups:
        trainings.setdefault(group.training, {}).setdefault(group.seed, []).append(group)
    for seeds in trainings.values():
        for alike in seeds.values():
            for group in alike:
                yield group, 1 / (len(trainings) * len(seeds) * len(alike))


def _mean_interval(value: float, shares: Sequence[tuple[Record, float]]) -> Interval | None:
    """The interval of a weighted mean of records; None where one has no standard error."""
    errors = [record.stderr for record, _ in shares]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    stderr = math.hypot(*(share * e for (_, share), e in zip(shares, known, strict=True)))
    items = [record.n for record, _ in shares]
    n = sum(filter(None, items)) if all(items) else None
    task = shares[0][0].task
    if task.metric in SHARES:
        return share_interval(min(1.0, max(0.0, value)), n, stderr)
    return error_interval(value, stderr, n, range_of(task))


def _verdict(
    comparison: Comparison,
    value: float,
    low: float | None,
    high: float | None,
    basis: str,
    trainings: int,
) -> tuple[Verdict, str]:
    least = comparison.least
    if low is None or high is None:
        return "undecided", "the records have no standard errors, or nothing in them varies"
    if comparison.unit == "trainings" and trainings < 2 and comparison.of == "value":
        return (
            "undecided",
            f"one training of each: the interval is over {basis}, another may differ",
        )
    bound = min(least, 0.0)
    if low > bound and value >= least:
        return (
            "supported",
            f"the interval ({basis}) is above {bound:g}, the effect at least {least:g}",
        )
    if high < least:
        return "contradicted", f"the interval ({basis}) is below {least:g}"
    return "undecided", f"the interval ({basis}) allows for both"
