"""Forest plot of the claims: a row an effect, with interval, verdict and number of runs.

The page writes it as a table whose middle column is drawn, so that every number is also text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..claims.claim import Comparison
from ..claims.effects import Effect
from ..claims.verdicts import Finding

LIMITS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ends of the axis; effects beyond have an arrow
ORDER = ("supported", "contradicted", "undecided")


@dataclass(frozen=True)
class ReportedEffect:
    """Effect of the same comparison in the paper's own numbers, at a scale."""

    scale: str
    value: float


@dataclass(frozen=True)
class ForestRow:
    """Effect of a comparison at a scale."""

    finding: Finding
    effect: Effect
    reported: tuple[ReportedEffect, ...]

    @property
    def over(self) -> str:
        """Sampling unit of the interval: ``items``, ``3 runs``; empty without an interval."""
        if self.counted:
            return ""
        return self.effect.basis.partition(":")[0]

    @property
    def counted(self) -> bool:
        """True for an effect that is counted, not sampled, and has no interval."""
        return self.effect.comparison.quantity == "training_flops"


@dataclass(frozen=True)
class Forest:
    """Rows of the plot, and its axis from ``-limit`` to ``limit``.

    Args:
        missing: claims that have no comparable records at any scale measured here.
    """

    rows: tuple[ForestRow, ...]
    limit: float
    missing: int

    @property
    def ticks(self) -> tuple[float, ...]:
        """Labelled values of the axis."""
        return (-self.limit, -self.limit / 2, 0.0, self.limit / 2, self.limit)

    def percent(self, value: float) -> float:
        """Return the position of a value on the axis; ends of the axis for values beyond it."""
        inside = max(-self.limit, min(self.limit, value))
        return 4 + 92 * (inside + self.limit) / (2 * self.limit)

    def beyond(self, value: float) -> int:
        """Return -1 or 1 for a value that lies left or right of the axis, else 0."""
        return (value > self.limit) - (value < -self.limit)

    @property
    def heading(self) -> str:
        """Return the finding in a sentence: how many claims have which verdict.

        A claim that is decided at a scale is not counted as undecided for another scale.
        """
        claims: dict[str, set[str]] = {verdict: set() for verdict in ORDER}
        for row in self.rows:
            if row.finding.verdict in claims:
                claims[row.finding.verdict].add(row.finding.claim.id)
        total = len(set().union(*claims.values()))
        claims["undecided"] -= claims["supported"] | claims["contradicted"]
        if not total:
            return "No claim of the paper has records here yet"
        if not claims["supported"] and not claims["contradicted"]:
            return f"None of the {total} claims tested here is decided yet"
        counts = [f"{len(claims[verdict])} {verdict}" for verdict in ORDER if claims[verdict]]
        return f"{total} claim{'s' * (total > 1)} tested here: {', '.join(counts)}"


def forest(findings: Sequence[Finding]) -> Forest:
    """Arrange the findings: decided claims first, then in the order of the claims."""
    reported: dict[Comparison, list[ReportedEffect]] = {}
    rows: list[tuple[Finding, Effect]] = []
    missing: set[str] = set()
    tested: set[str] = set()
    for finding in findings:
        for effect in finding.effects:
            if finding.kind == "reported" and effect.value is not None:
                found = ReportedEffect(finding.scale, effect.value)
                reported.setdefault(effect.comparison, []).append(found)
        if finding.kind == "measured":
            with_value = [effect for effect in finding.effects if effect.value is not None]
            rows += [(finding, effect) for effect in with_value]
            (tested if with_value else missing).add(finding.claim.id)
    rows.sort(key=lambda row: ORDER.index(row[0].verdict) if row[0].verdict in ORDER else 3)
    largest = max((abs(effect.value or 0.0) for _, effect in rows), default=0.0)
    return Forest(
        tuple(ForestRow(f, e, tuple(reported.get(e.comparison, ()))) for f, e in rows),
        next((limit for limit in LIMITS if limit >= largest), LIMITS[-1]),
        len(missing - tested),
    )
