"""Test claims on records and report a verdict per claim and scale.

Only records of the same questions (``Task.key``) and the same scale are compared, and only where
every term of a comparison has records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ..entries import EFFECT_TASKS, first_token_ablated, latest_records
from ..records import Record
from .claim import Claim, Comparison, RecordFilter, Term
from .effects import Effect, Verdict, estimate_effect
from .matching import comparable_groups

__all__ = [
    "Claim",
    "Comparison",
    "Effect",
    "Finding",
    "RecordFilter",
    "Term",
    "Verdict",
    "comparison_effect",
    "evaluate_claims",
    "record_scale",
]


@dataclass(frozen=True)
class Finding:
    """Verdict on a claim at one scale.

    Args:
        scale: size of the models, e.g. ``1.7B``.
        kind: ``measured`` here, or ``reported`` by the paper.
        effects: one per comparison of the claim.
    """

    claim: Claim
    scale: str
    kind: Literal["measured", "reported"]
    verdict: Verdict
    effects: tuple[Effect, ...]


def evaluate_claims(records: Iterable[Record], claims: Sequence[Claim]) -> list[Finding]:
    """Return a finding for every claim at every scale that has records.

    Measured and reported records of a scale give separate findings.

    Example::

        for finding in evaluate_claims(Store("records").read(), CLAIMS):
            print(finding.claim.id, finding.scale, finding.verdict)
    """
    latest = latest_records(records)
    scales = dict.fromkeys(
        (record.kind, record_scale(record))
        for record in sorted(latest, key=lambda r: (r.kind, r.model.size is None, record_scale(r)))
    )
    findings = []
    for claim in claims:
        for kind, scale in scales:
            at_scale = [r for r in latest if r.kind == kind and record_scale(r) == scale]
            effects = tuple(comparison_effect(c, at_scale) for c in claim.comparisons)
            findings.append(Finding(claim, scale, kind, _combined_verdict(effects), effects))
    return findings


def record_scale(record: Record) -> str:
    """Return the scale of a record: the size of its model, else the model's name."""
    return record.model.size or record.model.name


def _combined_verdict(effects: Sequence[Effect]) -> Verdict:
    """Combine verdicts of a claim: supported needs all, contradicted needs one."""
    verdicts = [effect.verdict for effect in effects]
    if "contradicted" in verdicts:
        return "contradicted"
    if all(verdict == "supported" for verdict in verdicts):
        return "supported"
    if all(verdict == "not run at this scale" for verdict in verdicts):
        return "not run at this scale"
    return "undecided"


def comparison_effect(comparison: Comparison, records: Sequence[Record]) -> Effect:
    """Estimate the effect of a comparison from records of one scale."""
    sides = [
        [r for r in records if _is_relevant(comparison, r) and term.where.matches(r)]
        for term in comparison.terms
    ]
    missing = [t for t, side in zip(comparison.terms, sides, strict=True) if not side]
    if missing:
        return Effect(comparison, "not run at this scale", _missing_reason(comparison, missing))
    for pattern in comparison.tasks:
        groups = comparable_groups(comparison, sides, pattern)
        if groups:
            return estimate_effect(comparison, groups)
    reason = "there are records of all sides, but none comparable: they differ in task, version, "
    reason += "data, shots, split, prompting, precision, seeds" + "".join(
        f", {name}" for name in comparison.match
    )
    return Effect(comparison, "not run at this scale", reason)


def _is_relevant(comparison: Comparison, record: Record) -> bool:
    """Return True if a record has the study, task and metric of a comparison."""
    if record.study != comparison.study or (record.study is None and record.schedule):
        return False  # a schedule other than the model's own says nothing about its architecture
    if comparison.quantity == "training_flops":
        return bool(record.model.training_flops)  # 0 before training
    patterns = [part for tasks in comparison.tasks for part in tasks.split("|")]
    if first_token_ablated(record.task):
        return False  # ablating the attention sink breaks the model
    matches = any(fnmatchcase(record.task.name, pattern) for pattern in patterns)
    return matches and record.task.metric in comparison.metric.split("|")


def _missing_reason(comparison: Comparison, terms: Sequence[Term]) -> str:
    source = f"study {comparison.study}" if comparison.study else "growloop eval"
    what = "; ".join(dict.fromkeys(_describe_filter(term.where) for term in terms))
    effects = any(tasks.startswith(EFFECT_TASKS) for tasks in comparison.tasks)
    return f"no records of {what} from {source}" + ", first tokens left alone" * effects


def _describe_filter(where: RecordFilter) -> str:
    parts = [" or ".join(where.family) + " models" if where.family else "any model"]
    if where.operator:
        parts.append(f"grown by {where.operator}")
    if where.notation:
        parts.append(f"with a schedule like {where.notation}")
    if where.recipe:
        parts.append(f"with {where.recipe.strip('*')}")
    parts += [f"{name} {value}" for name, value in where.conditions if value is not None]
    return ", ".join(parts)
