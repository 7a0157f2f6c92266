"""Chart of a measure at each step of a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.statistics import Interval
from .. import seed_aggregation
from ..records import StudyRecord
from . import charts


def step_chart(
    records: Sequence[StudyRecord],
    metric: str,
    title: str,
    within: Interval | None,
    logarithmic: bool,
) -> Any:
    """Draw the mean of a measure against the step, a line with its 95 % band for each model.

    Args:
        metric: metric of the rows to draw.
        title: title of the chart.
        within: range of the measure.
        logarithmic: whether the axis is logarithmic, for measures that differ in size.
    """
    alt = charts.altair()
    names = seed_aggregation.legend_names(records)
    values = [
        {"model": record.model_name, **row.to_json()}
        for record in records
        for row in record.rows
        if row.metric == metric
    ]
    values = seed_aggregation.seed_means(records, values, "step", within=within)
    subtitle = f"mean of {values[0]['n']} texts, bands: 95 %" if values else "too few loops"
    base = alt.Chart(charts.rows(values), title=alt.Title(title, subtitle=subtitle)).encode(
        x=charts.steps_line("step", "step (layer, in the order they run)"),
        color=charts.colour("model", names),
    )
    scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(zero=True)
    axis = "mean over tokens" + (", logarithmic" if logarithmic else "")
    tooltip = ["model:N", "step:Q", "layer:Q", "loop:Q", "value:Q", "low:Q", "high:Q"]
    layers = charts.line_with_band(
        base,
        alt.Y("value:Q", title=axis, scale=scale),
        names,
        point={"size": 18},
        opacity=0.2,
        line_options={"tooltip": tooltip},
        # a logarithmic axis has no 0 for a band to end at
        band=base.transform_filter("datum.low > 0") if logarithmic else base,
    )
    return alt.layer(*layers).properties(width=330, height=190)
