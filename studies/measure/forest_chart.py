"""Forest plot of differences: a row each, with estimate and 95 % interval, and a line at 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...leaderboard.site import theme
from . import charts

VERDICTS = {
    "supported": theme.LIGHT.supported,
    "contradicted": theme.LIGHT.contradicted,
    "undecided": theme.LIGHT.undecided,
}
"""Verdict -> colour, as on the page."""


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
