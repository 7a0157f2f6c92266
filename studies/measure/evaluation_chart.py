"""Chart of an evaluation: a panel per task, its value against few-shot examples or repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.statistics import error_interval, share_interval
from . import charts

TITLES = {"shots": "examples in the prompt", "repeats": "extra passes of the block"}


def evaluation_chart(rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Draw a line per task with its 95 % interval.

    The x axis is ``repeats`` where these differ, else ``shots``; where both differ, each number of
    examples is a line of its own.

    Args:
        rows: ``task``, ``metric``, ``value``, ``stderr``, ``n``, ``shots``, ``chance`` and
            ``repeats`` of each number; None where unknown.
        title: what was scored.
    """
    alt = charts.altair()
    several = {name: len({row[name] for row in rows}) > 1 for name in TITLES}
    x = "repeats" if several["repeats"] else "shots"
    lines = _lines(rows, x, several["shots"])
    panels = []
    for task, metric in dict.fromkeys((row["task"], row["metric"]) for row in rows):
        some = [row for row in rows if (row["task"], row["metric"]) == (task, metric)]
        values = [
            {
                x: row[x],
                "value": row["value"],
                "line": _line(row, x, several["shots"]),
                **_ends(row),
            }
            for row in some
        ]
        counts = sorted({value[x] for value in values})
        base = alt.Chart(charts.rows(values), title=alt.Title(task, subtitle=_about(some[0])))
        # curves over examples double from point to point
        scale = alt.Scale(type="symlog" if x == "shots" else "linear")
        axis = alt.Axis(values=counts, format="d")
        base = base.encode(
            x=alt.X(f"{x}:Q", title=TITLES[x], scale=scale, axis=axis),
            color=charts.colour("line", lines) if len(lines) > 1 else alt.value(charts.COLOURS[0]),
        )
        name = "accuracy" if metric == "acc" else metric
        value = alt.Y("value:Q", title=name, scale=alt.Scale(zero=False))
        low = alt.Y("low:Q", title=name)
        dashes = None if len(lines) > 1 else alt.value([1, 0])
        layers = charts.line_with_band(base, value, lines, field="line", low=low, dashes=dashes)
        if some[0]["chance"] is not None:
            layers.append(charts.chance_line(some[0]["chance"]))
        panels.append(alt.layer(*layers).properties(width=230, height=170))
    return alt.concat(*panels, columns=3, title=title)


def evaluation_bars(rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Draw a bar for each task with its 95 % interval, and a tick at chance.

    Args:
        rows: as of :func:`evaluation_chart`; metrics are panels of their own.
        title: what was scored.
    """
    alt = charts.altair()
    panels = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        some = [dict(row) | _ends(row) for row in rows if row["metric"] == metric]
        names = list(dict.fromkeys(row["task"] for row in some))
        base = alt.Chart(charts.rows(some)).encode(y=alt.Y("task:N", sort=names, title=None))
        axis = "accuracy" if metric == "acc" else metric
        bars = base.mark_bar(color=charts.COLOURS[0], height=12)
        layers = [bars.encode(x=alt.X("value:Q", title=axis)), base.mark_rule(strokeWidth=2)]
        layers[1] = layers[1].encode(x="low:Q", x2="high:Q")
        if any(row["chance"] is not None for row in some):
            tick = base.mark_tick(color=charts.GREY, thickness=2)
            layers.append(tick.encode(x="chance:Q"))
        panels.append(alt.layer(*layers).properties(width=300))
    return alt.vconcat(*panels, title=title)


def _lines(rows: Sequence[Mapping[str, Any]], x: str, several_shots: bool) -> list[str]:
    return list(dict.fromkeys(_line(row, x, several_shots) for row in rows))


def _line(row: Mapping[str, Any], x: str, several_shots: bool) -> str:
    return f"{row['shots']} examples" if x == "repeats" and several_shots else "model"


def _ends(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the 95 % interval of a value; the value itself where no error is known."""
    value, stderr, interval = row["value"], row["stderr"], None
    if row["metric"] == "acc":
        interval = share_interval(value, row["n"], stderr or None)
    elif stderr:
        interval = error_interval(value, stderr)
    low, high = interval or (value, value)
    return {"low": low, "high": high}


def _about(row: Mapping[str, Any]) -> str:
    parts = [] if row["n"] is None else [f"n = {row['n']:,}"]
    if row["chance"] is not None:
        parts.append(f"chance {row['chance']:.2f}")
    return ", ".join([*parts, "bands: 95 %"])
