"""Chart of leaderboard rows for notebooks: a panel a task, a point a model with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from ...core.errors import InputError
from . import theme

MOST = 12
"""Panels of a chart."""


def result_chart(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Draw rows of the leaderboard.

    Args:
        rows: fields of entries (:func:`..export.entry_fields`).

    Raises:
        InputError: Altair is not installed, or there are more tasks than panels.
    """
    try:
        alt: Any = import_module("altair")
    except ImportError as error:
        raise InputError("a picture needs altair: pip install 'growloop[plots]'") from error
    names = "task", "shots", "metric"
    keys = list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))
    if len(keys) > MOST:
        raise InputError(
            f"{len(keys)} tasks are too many for a chart: select(tasks=...) at most {MOST}"
        )
    panels = []
    for key in keys:
        some = [dict(row) for row in rows if tuple(row[name] for name in names) == key]
        task, shots, metric = key
        title = alt.Title(task, subtitle="" if shots is None else f"{shots} examples")
        order = alt.EncodingSortField("value", order="descending")
        base = alt.Chart(alt.Data(values=some), title=title).encode(
            y=alt.Y("label:N", title=None, sort=order)
        )
        axis = alt.X("value:Q", title=metric, scale=alt.Scale(zero=False))
        points = base.mark_point(filled=True, size=50, color=theme.LIGHT.series[0])
        layers = [points.encode(x=axis, tooltip=["label:N", "value:Q", "n:Q", "kind:N"])]
        if any(row["low"] is not None for row in some):
            ends = base.transform_filter("isValid(datum.low)").mark_rule(color=theme.GREY)
            layers.insert(0, ends.encode(x=alt.X("low:Q", title=metric), x2="high:Q"))
        panels.append(alt.layer(*layers).properties(width=260))
    return alt.concat(*panels, columns=2).configure(**theme.altair_config(theme.LIGHT))
