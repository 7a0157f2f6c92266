"""The picture in the README, from a result file of ``growloop eval``.

``pip install altair vl-convert-python``, then
``python docs/figures/primitives.py results/.../results_*.json docs/figures/primitives.svg``.
"""

from __future__ import annotations

import json
import sys

import altair as alt
from growloop.core.statistics import share_interval
from growloop.tasks.results import rows


def chart(results: dict) -> alt.LayerChart:
    """A bar a task, with its 95 % interval and its chance level."""
    data = [
        {
            "task": row.task.replace("_", " "),
            "accuracy": row.value,
            "low": low,
            "high": high,
            "chance": row.chance,
        }
        for row in rows(results)
        for low, high in [share_interval(row.value, row.n, row.stderr)]
    ]
    base = alt.Chart(alt.Data(values=data)).encode(
        y=alt.Y("task:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
    )
    accuracy = alt.X("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    bars = base.mark_bar(color="#0072B2", height=14).encode(x=accuracy)
    spread = base.mark_rule(color="#222").encode(x="low:Q", x2="high:Q")
    chance = base.mark_tick(color="#D55E00", thickness=3, size=20).encode(x="chance:Q")
    title = alt.TitleParams(
        "SmolLM2-135M-Instruct on the reasoning primitives",
        subtitle=f"five shots, n = {data[-1] and rows(results)[-1].n:,} a task; "
        "orange: chance, thin line: 95 % interval",
        anchor="start",
    )
    return alt.layer(bars, spread, chance, title=title).properties(width=420, height=alt.Step(26))


if __name__ == "__main__":
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        chart(json.load(file)).configure(background="white").save(target)
