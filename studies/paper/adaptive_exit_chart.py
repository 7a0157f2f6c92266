"""Chart of adaptive exit: accuracy against executed steps, a line for each criterion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.statistics import SHARE
from .. import seed_aggregation
from ..measure import charts
from ..records import StudyRecord
from .adaptive_exit_costs import (
    CRITERIA,
    FIXED,
    ExitAnswers,
    choose_threshold,
    curve,
    interpolate_curve,
)


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a panel for each model and task: accuracy against executed steps, a line a criterion."""
    alt = charts.altair()
    panels = []
    for task in dict.fromkeys(record.rows[0].task for record in records):
        some = [record for record in records if record.rows[0].task == task]
        points = _points(some)
        first = some[0].rows[0]
        for name in seed_aggregation.legend_names(some):
            mine = [point for point in points if point["model"] == name]
            title = alt.Title(
                [name, task],
                subtitle=f"{some[0].data['lens']}, n = {first.n}; ring: chosen on "
                "validation, dotted: chance",
            )
            panels.append(_panel(mine, title, first.chance))
    return alt.concat(*panels, columns=min(3, len(seed_aggregation.legend_names(records))))


def _points(records: Sequence[StudyRecord]) -> list[dict[str, Any]]:
    """Compute the curves of all models; those of replicates are averaged at equal steps."""
    points: list[dict[str, Any]] = []
    groups = seed_aggregation.replicates_of(records)
    replicated = {model for group in groups for model in group.models.values()}
    for criterion in (FIXED, *CRITERIA):
        curves = {
            record.model_name: curve(
                ExitAnswers.read(record, "validation"), ExitAnswers.read(record, "test"), criterion
            )
            for record in records
        }
        for group in groups:
            replicates = [curves[model] for model in group.models.values()]
            low = max(min(point["steps"] for point in line) for line in replicates)
            high = min(max(point["steps"] for point in line) for line in replicates)
            grid = np.linspace(low, max(low, high), 16).tolist()
            for model in group.models.values():
                curves[model] = interpolate_curve(curves[model], grid)
        place = {"chosen": False}
        for record in records:
            model = record.model_name
            if model not in replicated:
                best = choose_threshold(ExitAnswers.read(record, "validation"), criterion)
                curves[model] = [p | {"chosen": p["threshold"] == best} for p in curves[model]]
        points += [
            {"model": model, **place, **point} for model, line in curves.items() for point in line
        ]
    return seed_aggregation.seed_means(records, points, "criterion", "steps", within=SHARE)


def _panel(points: list[dict[str, Any]], title: Any, chance: float | None) -> Any:
    alt = charts.altair()
    names = [*CRITERIA, FIXED]
    base = alt.Chart(charts.rows(points), title=title).encode(
        x=alt.X("steps:Q", title="mean steps run", scale=alt.Scale(zero=False, nice=False)),
        color=alt.Color(
            "criterion:N",
            title="leaving by",
            sort=names,
            scale=alt.Scale(domain=names, range=[*charts.COLOURS[: len(CRITERIA)], "#666666"]),
            legend=alt.Legend(symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3),
        ),
    )
    value = alt.Y("value:Q", title="accuracy", scale=alt.Scale(zero=False))
    dashes = alt.Scale(domain=names, range=[[1, 0], [2, 2], [8, 3, 2, 3], [1, 3], [6, 3]])
    dash = alt.StrokeDash("criterion:N", title="leaving by", sort=names, scale=dashes)
    # there is nothing between two fixed exits
    exits = base.transform_filter(f"datum.criterion == '{FIXED}'")
    exits = exits.mark_point(filled=True, size=30).encode(y=value)
    band, line = charts.line_with_band(base, value, names, point=False, opacity=0.1, dashes=dash)
    ring = base.transform_filter("datum.chosen").mark_point(size=90, strokeWidth=2)
    layers = alt.layer(band, line, exits, ring.encode(y=value), charts.chance_line(chance))
    return layers.properties(width=300, height=220)
