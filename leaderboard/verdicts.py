"""What a comparison comes to in comparable records: its effect, interval and verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .comparable import Group
from .queries import Comparison
from .records import Record
from .statistics import Z, of_mean

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
    ids = tuple(sorted({r.id for group in groups for side in group.sides for r in side}))
    sums: dict[int | None, dict[int | None, list[tuple[float, float | None]]]] = {}
    for group in groups:
        seeds = sums.setdefault(group.training, {}).setdefault(group.seed, [])
        seeds.append(_sum(comparison, group))
    by_seed = {
        training: [statistics.fmean(value for value, _ in parts) for parts in seeds.values()]
        for training, seeds in sums.items()
    }
    by_training = [statistics.fmean(values) for values in by_seed.values()]
    value = statistics.fmean(by_training)
    low: float | None
    high: float | None
    if comparison.of == "training_flops":
        low, high, basis = value, value, "counted, not sampled"
    elif comparison.unit == "trainings" and len(by_training) > 1:
        low, high = of_mean(by_training)
        basis = f"{len(by_training)} trainings"
    elif comparison.unit == "trainings" and len(repeats := next(iter(by_seed.values()))) > 1:
        low, high = of_mean(repeats)
        basis = f"{len(repeats)} seeds of the study"
    else:
        low, high = _over_items(value, [list(seeds.values()) for seeds in sums.values()])
        basis = "items"
    verdict, why = _verdict(comparison, value, low, high, basis, len(by_training))
    return Effect(comparison, verdict, why, value, low, high, len(by_training), len(groups), ids)


def _sum(comparison: Comparison, group: Group) -> tuple[float, float | None]:
    """The effect in a group, and its variance over items."""
    if comparison.of == "training_flops":
        # a model has one training, however many scores
        models = [{r.model.identity: _flops(r) for r in side} for side in group.sides]
        flops = [statistics.fmean(found.values()) for found in models]
        return 1 - flops[0] / flops[1], 0.0
    total, variance = 0.0, 0.0
    known = True
    for term, side in zip(comparison.terms, group.sides, strict=True):
        sign = 1 if side[0].task.higher_is_better else -1
        total += sign * term.weight * statistics.fmean(record.value for record in side)
        errors = [record.stderr for record in side]
        known = known and None not in errors
        squares = sum(error**2 for error in errors if error is not None)
        variance += term.weight**2 * squares / len(side) ** 2
    return total, variance if known else None


def _flops(record: Record) -> float:
    found = record.model.training_flops
    assert found
    return found


def _over_items(
    value: float, trainings: Sequence[Sequence[Sequence[tuple[float, float | None]]]]
) -> tuple[float | None, float | None]:
    """The interval from the variances over items.

    Args:
        value: the mean over trainings of means over seeds of means over groups.
        trainings: of each, by seed, the sums of the groups.
    """
    total = 0.0
    for seeds in trainings:
        for sums in seeds:
            for _, variance in sums:
                if variance is None:
                    return None, None
                total += variance / (len(sums) * len(seeds)) ** 2
    half = Z * math.sqrt(total) / len(trainings)
    return value - half, value + half


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
        return "undecided", "the records have no standard errors"
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
