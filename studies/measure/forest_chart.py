"""Forest plot of differences: a row each, with estimate and 95 % interval, and a line at 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...leaderboard.site import theme
from . import charts

if TYPE_CHECKING:
    from ...leaderboard.claims.claim import Comparison
    from ...leaderboard.claims.verdicts import Finding

VERDICTS = {
    "supported": theme.LIGHT.supported,
    "contradicted": theme.LIGHT.contradicted,
    "undecided": theme.LIGHT.undecided,
}
"""Verdict -> colour, as on the page."""
UNITS = {"acc": "accuracy", "overlap": "overlap of the five most likely tokens"}
"""Metric of a comparison -> its unit on the axis; other metrics by their name."""


@dataclass(frozen=True)
class Difference:
    """Row of a forest plot.

    Args:
        label: what differs.
        value: the difference, in ``unit``.
        low, high: its 95 % interval; None where there is none.
        unit: rows of one unit share an axis.
        verdict: a key of ``VERDICTS``, which colours the row; empty for none.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    unit: str
    verdict: str = ""


def forest_chart(differences: Sequence[Difference], title: str, subtitle: str) -> Any:
    """Draw a panel for each unit: a row a difference, in the order given.

    Raises:
        InputError: Altair is not installed.
    """
    alt = charts.altair()
    panels = [
        _panel([row for row in differences if row.unit == unit], unit)
        for unit in dict.fromkeys(row.unit for row in differences)
    ]
    return alt.vconcat(*panels, title=alt.Title(title, subtitle=subtitle)).resolve_scale(
        color="shared"
    )


def claims_chart(findings: Sequence[Finding]) -> Any:
    """Draw the measured effects of claims, in the order of the leaderboard's first page.

    Raises:
        InputError: no effect was measured, or Altair is not installed.
    """
    from ...leaderboard.site.forest_plot import forest

    plot = forest(findings)
    if not plot.rows:
        raise InputError("no effect to draw: no claim has comparable records here")
    several = len({row.finding.scale for row in plot.rows}) > 1
    whats = Counter(row.effect.comparison.what for row in plot.rows)
    differences = []
    for row in plot.rows:
        comparison, effect = row.effect.comparison, row.effect
        label = comparison.what + f" ({row.finding.scale})" * several
        if whats[comparison.what] > 1:
            label = f"{row.finding.claim.id}: {label}"
        low, high = (None, None) if row.counted else (effect.low, effect.high)
        value = effect.value or 0.0
        differences.append(Difference(label, value, low, high, _unit(comparison), effect.verdict))
    about = "right of 0 is for the paper's claim; lines: 95 % intervals"
    return forest_chart(differences, plot.heading, about)


def _unit(comparison: Comparison) -> str:
    """Return the unit of an effect, as the title of its axis."""
    if comparison.quantity == "training_flops":
        return "share of training FLOPs"
    metric = comparison.metric.partition("|")[0]
    return UNITS.get(metric, metric.replace("_", " "))


def _panel(differences: Sequence[Difference], unit: str) -> Any:
    alt = charts.altair()
    labels = [row.label for row in differences]
    colour: Any = alt.value(charts.COLOURS[0])
    if any(row.verdict for row in differences):
        scale = alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values()))
        colour = alt.Color("verdict:N", scale=scale, title=None)
    base = alt.Chart(charts.rows([asdict(row) for row in differences])).encode(
        y=alt.Y(
            "label:N",
            sort=labels,
            title=None,
            axis=alt.Axis(labelLimit=520, minExtent=300, ticks=False),
        ),
        color=colour,
    )
    x = alt.X("value:Q", title=f"difference, {unit}", scale=alt.Scale(nice=True))
    zero = alt.Chart(charts.rows([{"zero": 0}])).mark_rule(color=charts.GREY).encode(x="zero:Q")
    known = base.transform_filter("isValid(datum.low)")
    interval = known.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    tooltip = ["label:N", "value:Q", "low:Q", "high:Q"]
    estimate = base.mark_point(filled=True, shape="square", size=60, opacity=1)
    layers = [zero, interval, estimate.encode(x=x, tooltip=tooltip)]
    return alt.layer(*layers).properties(width=380, height=alt.Step(24))
