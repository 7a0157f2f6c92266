"""Claims and their verdicts: a claim says which records it compares, the verdict is computed.

Sums are taken only over records that answer the same questions (``Task.key``) at the same scale,
and only where every term has some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ..entries import EFFECTS, latest, sink_taken
from ..records import Record
from .comparable import groups_of
from .queries import Claim, Comparison, Term, Where
from .verdicts import Effect, Verdict, measured

__all__ = [
    "Claim",
    "Comparison",
    "Effect",
    "Finding",
    "Term",
    "Verdict",
    "Where",
    "effect",
    "findings",
    "scale_of",
]


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
        groups = groups_of(comparison, sides, pattern)
        if groups:
            return measured(comparison, groups)
    reason = "there are records of all sides, but none comparable: they differ in task, version, "
    reason += "data, shots, split, prompting, precision, seeds" + "".join(
        f", {name}" for name in comparison.match
    )
    return Effect(comparison, "not run at this scale", reason)


def _asks(comparison: Comparison, record: Record) -> bool:
    if record.study != comparison.study or (record.study is None and record.schedule):
        return False  # another schedule than its own says nothing about a kind of model
    if comparison.of == "training_flops":
        return bool(record.model.training_flops)  # 0 of what was not trained yet
    patterns = [part for tasks in comparison.tasks for part in tasks.split("|")]
    if sink_taken(record.task):
        return False  # the effect of breaking the model at its first token
    named = any(fnmatchcase(record.task.name, pattern) for pattern in patterns)
    return named and record.task.metric in comparison.metric.split("|")


def _missing(comparison: Comparison, terms: Sequence[Term]) -> str:
    where = f"study {comparison.study}" if comparison.study else "growloop eval"
    what = "; ".join(dict.fromkeys(_words(term.where) for term in terms))
    effects = any(tasks.startswith(EFFECTS) for tasks in comparison.tasks)
    return f"no records of {what} from {where}" + ", first tokens left alone" * effects


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
