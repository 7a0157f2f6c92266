"""Claims and their verdicts: a claim says which records it compares, the verdict is computed.

A comparison is a weighted sum of means over records that match a query: ``+1 looped, -1 standard``
is a difference, ``+1 -1 -1 +1`` a difference of differences. Sums are taken only over records that
answer the same questions (``Task.key``) at the same scale, and only where every term has some.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from .entries import latest
from .records import Record
from .statistics import Z, of_mean

Verdict = Literal["supported", "contradicted", "undecided", "not run at this scale"]
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Where:
    """Which records; what is not given does not matter.

    Args:
        family: of the model, one of these.
        operator: that the model was last grown by.
        notation: regular expression that the model's schedule matches as a whole.
        unique_share: least share of unique layers among those that run.
        recipe: pattern for the model's recipe; an empty one for models without.
        conditions: of the study, by name; None for records without this condition.
    """

    family: tuple[str, ...] = ()
    operator: str | None = None
    notation: str | None = None
    unique_share: float | None = None
    recipe: str | None = None
    conditions: tuple[tuple[str, Value], ...] = ()

    def matches(self, record: Record) -> bool:
        """Whether ``record`` is one of them."""
        model = record.model
        last = model.growth[-1].operator if model.growth else None
        if self.family and model.family not in self.family:
            return False
        if self.operator is not None and last != self.operator:
            return False
        if self.notation is not None and not re.fullmatch(self.notation, model.schedule or ""):
            return False
        if self.unique_share is not None:
            unique, effective = model.unique_layers, model.effective_layers
            if not unique or not effective or unique / effective < self.unique_share:
                return False
        if self.recipe is not None and not fnmatchcase(model.recipe or "", self.recipe):
            return False
        return all(record.conditions.get(name) == value for name, value in self.conditions)


@dataclass(frozen=True)
class Term:
    """A part of the sum.

    Args:
        weight: in it.
        where: its records.
        side: terms of one side are of the same models.
        level: with :attr:`Comparison.vary`: the least or the most that all terms have.
    """

    weight: float
    where: Where
    side: str = ""
    level: Literal["least", "most"] | None = None


@dataclass(frozen=True)
class Comparison:
    """An effect, and how large it must be to matter.

    Args:
        what: in words.
        terms: whose sum it is.
        tasks: patterns, several joined by ``|``; the first of which there is something is taken.
        least: smallest effect of interest. Below 0: how much worse is still no matter.
        metric: of the task.
        study: whose records; None for plain evaluations.
        match: what else must be alike: fields of the model, conditions.
        vary: what differs between the terms by intention: ``shots``, or a condition.
        of: the score, or ``training_flops``: the share of them that is saved.
        unit: what was drawn at random: ``trainings`` where kinds of models are compared, or
            ``items`` where it is about one model.
    """

    what: str
    terms: tuple[Term, ...]
    tasks: tuple[str, ...]
    least: float
    metric: str = "acc"
    study: str | None = None
    match: tuple[str, ...] = ()
    vary: str | None = None
    of: Literal["value", "training_flops"] = "value"
    unit: Literal["trainings", "items"] = "trainings"


@dataclass(frozen=True)
class Claim:
    """A statement that records can bear out or not; all of its comparisons must hold."""

    id: str
    statement: str
    paper: str
    comparisons: tuple[Comparison, ...]


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


@dataclass(frozen=True)
class Finding:
    """A claim at a scale."""

    claim: Claim
    scale: str
    kind: Literal["measured", "reported"]
    verdict: Verdict
    effects: tuple[Effect, ...]


def findings(records: Iterable[Record], claims: Sequence[Claim]) -> list[Finding]:
    """Every claim at every scale that there are records of."""
    kept = latest(records)
    scales = dict.fromkeys(
        (record.kind, scale_of(record))
        for record in sorted(kept, key=lambda r: (r.kind, r.model.size is None, scale_of(r)))
    )
    found = []
    for claim in claims:
        for kind, scale in scales:
            at = [r for r in kept if r.kind == kind and scale_of(r) == scale]
            effects = tuple(effect(comparison, at) for comparison in claim.comparisons)
            found.append(Finding(claim, scale, kind, _together(effects), effects))
    return found


def scale_of(record: Record) -> str:
    """The scale a record belongs to: the size of its model, else the model itself."""
    return record.model.size or record.model.name


def _together(effects: Sequence[Effect]) -> Verdict:
    verdicts = [effect.verdict for effect in effects]
    if "contradicted" in verdicts:
        return "contradicted"
    if all(verdict == "supported" for verdict in verdicts):
        return "supported"
    if all(verdict == "not run at this scale" for verdict in verdicts):
        return "not run at this scale"
    return "undecided"


def effect(comparison: Comparison, records: Sequence[Record]) -> Effect:
    """The effect in ``records``, which are all of one scale."""
    sides = [
        [r for r in records if _asks(comparison, r) and term.where.matches(r)]
        for term in comparison.terms
    ]
    missing = [t for t, side in zip(comparison.terms, sides, strict=True) if not side]
    if missing:
        return Effect(comparison, "not run at this scale", _missing(comparison, missing))
    for pattern in comparison.tasks:
        groups = _groups(comparison, sides, pattern)
        if groups:
            return _measured(comparison, groups)
    reason = "there are records of all sides, but none comparable: they differ in task, version, "
    reason += "data, shots, split, seeds" + "".join(f", {name}" for name in comparison.match)
    return Effect(comparison, "not run at this scale", reason)


def _asks(comparison: Comparison, record: Record) -> bool:
    if record.study != comparison.study or (record.study is None and record.schedule):
        return False  # another schedule than its own says nothing about a kind of model
    if comparison.of == "training_flops":
        return record.model.training_flops is not None
    patterns = [part for tasks in comparison.tasks for part in tasks.split("|")]
    named = any(fnmatchcase(record.task.name, pattern) for pattern in patterns)
    return named and record.task.metric == comparison.metric


def _missing(comparison: Comparison, terms: Sequence[Term]) -> str:
    where = f"study {comparison.study}" if comparison.study else "growloop eval"
    what = "; ".join(dict.fromkeys(_words(term.where) for term in terms))
    return f"no records of {what} from {where}"


def _words(where: Where) -> str:
    parts = [" or ".join(where.family) + " models" if where.family else "any model"]
    if where.operator:
        parts.append(f"grown by {where.operator}")
    if where.notation:
        parts.append(f"with a schedule like {where.notation}")
    if where.recipe:
        parts.append(f"with {where.recipe.strip('*')}")
    parts += [f"{name} {value}" for name, value in where.conditions if value is not None]
    return ", ".join(parts)


@dataclass(frozen=True)
class _Group:
    """Comparable records of all terms, of one training and one seed of the measurement."""

    training: int | None
    seed: int | None
    sides: tuple[tuple[Record, ...], ...]


def _groups(
    comparison: Comparison, sides: Sequence[Sequence[Record]], pattern: str
) -> list[_Group]:
    """Where all terms have comparable records."""
    patterns = pattern.split("|")
    by_key: dict[tuple[object, int | None, int | None], list[list[Record]]] = {}
    for place, side in enumerate(sides):
        for record in side:
            if comparison.of == "value" and not any(
                fnmatchcase(record.task.name, p) for p in patterns
            ):
                continue
            key = (_key(comparison, record), record.model.seed, record.seed)
            by_key.setdefault(key, [[] for _ in sides])[place].append(record)
    found = []
    for (_, training, seed), parts in by_key.items():
        parts = _of_same_models(comparison, _at_levels(comparison, parts))
        if all(parts):
            found.append(_Group(training, seed, tuple(map(tuple, parts))))
    return found


def _key(comparison: Comparison, record: Record) -> tuple[object, ...]:
    """What must be alike."""
    task = record.task
    if comparison.vary == "shots":
        task = task.model_copy(update={"shots": None})
    asked: tuple[object, ...] = task.key if comparison.of == "value" else ()
    alike = []
    for name in comparison.match:
        known = name in type(record.model).model_fields
        alike.append(getattr(record.model, name) if known else record.conditions.get(name))
    return (*asked, *alike)


def _at_levels(comparison: Comparison, parts: list[list[Record]]) -> list[list[Record]]:
    """The records with the least or the most of what varies that all terms have."""
    if comparison.vary is None:
        return parts
    name = comparison.vary

    def level(record: Record) -> float | None:
        found = record.task.shots if name == "shots" else record.conditions.get(name)
        return float(found) if isinstance(found, (int, float)) else None

    common = set.intersection(*({level(record) for record in part} for part in parts)) - {None}
    levels = sorted(found for found in common if found is not None)
    if not levels:
        return [[] for _ in parts]
    if levels[0] == levels[-1] and len({term.level for term in comparison.terms}) > 1:
        return [[] for _ in parts]
    chosen = {"least": levels[0], "most": levels[-1]}
    return [
        [record for record in part if term.level is None or level(record) == chosen[term.level]]
        for term, part in zip(comparison.terms, parts, strict=True)
    ]


def _of_same_models(comparison: Comparison, parts: list[list[Record]]) -> list[list[Record]]:
    """Of each side only models that all its terms have."""
    found = list(parts)
    for side in {term.side for term in comparison.terms} - {""}:
        places = [i for i, term in enumerate(comparison.terms) if term.side == side]
        common = set.intersection(*({r.model.identity for r in parts[i]} for i in places))
        for i in places:
            found[i] = [record for record in parts[i] if record.model.identity in common]
    return found


def _measured(comparison: Comparison, groups: Sequence[_Group]) -> Effect:
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
        low, high = _over_items(value, [part for seeds in sums.values() for part in seeds.values()])
        basis = "items"
    verdict, why = _verdict(comparison, value, low, high, basis, len(by_training))
    return Effect(comparison, verdict, why, value, low, high, len(by_training), len(groups), ids)


def _sum(comparison: Comparison, group: _Group) -> tuple[float, float | None]:
    """The effect in a group, and its variance over items."""
    if comparison.of == "training_flops":
        flops = [statistics.fmean(_flops(r) for r in side) for side in group.sides]
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
    assert found is not None
    return found


def _over_items(
    value: float, runs: Sequence[Sequence[tuple[float, float | None]]]
) -> tuple[float | None, float | None]:
    """The interval from the variances over items, of the mean over runs of means over groups."""
    total = 0.0
    for sums in runs:
        for _, variance in sums:
            if variance is None:
                return None, None
            total += variance / len(sums) ** 2
    half = Z * math.sqrt(total) / len(runs)
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
