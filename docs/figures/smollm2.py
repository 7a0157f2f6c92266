"""primitives.svg and repeated.svg: SmolLM2-135M-Instruct, plain and with the layers 6-9 run twice.

Drawn from the evaluations in ``records/``.
"""

from __future__ import annotations

from typing import Any

import altair as alt
from growloop.core.statistics import share_interval
from growloop.leaderboard import Record
from growloop.leaderboard.site import theme
from growloop.studies.measure import charts

MODEL, REPEATED = "SmolLM2-135M-Instruct", "6-4x2-20"
NAMES = {None: "plain", REPEATED: "layers 6-9 twice"}
TASKS = (
    "reasoning_primitives",
    "copying_random_words",
    "copying_real_words",
    "variable_assignment_basic_d0",
    "variable_assignment_math_d0",
    "variable_assignment_code_d0",
)


def rows(records: list[Record], schedule: str | None) -> list[dict[str, Any]]:
    """Return accuracy, 95 % interval and chance level of each task under a schedule."""
    found = {
        record.task.name: record
        for record in records
        if getattr(record.model, "name", None) == MODEL
        and record.schedule == schedule
        and record.study is None
        and record.n is not None
    }
    values = []
    for task in TASKS:
        record = found[task]
        low, high = share_interval(record.value, record.n or 0, record.stderr)
        values.append(
            {
                "task": "mean of the five" if task == TASKS[0] else task.replace("_", " "),
                "model": NAMES[schedule],
                "accuracy": record.value,
                "low": low,
                "high": high,
                "chance": record.task.chance,
            }
        )
    return values


def primitives(records: list[Record]) -> Any:
    """Draw a bar for each task, with its chance level."""
    base = _base(rows(records, None))
    colour = theme.LIGHT.series[theme.series_index("plain")]
    bars = base.mark_bar(height=14, color=colour).encode(x=_accuracy())
    chance = base.mark_tick(color=charts.COLOURS[1], thickness=3, size=20).encode(x="chance:Q")
    title = alt.Title(
        "SmolLM2-135M-Instruct is far above chance in code and math only",
        subtitle="five shots, n = 1,000 a task; orange: chance, thin line: 95 % interval",
    )
    return alt.layer(bars, _spread(base), chance, title=title).properties(
        width=420, height=alt.Step(26)
    )


def repeated(records: list[Record]) -> Any:
    """Draw two bars for each task: the model as it is, and with a repeated block."""
    values = [*rows(records, None), *rows(records, REPEATED)]
    names = list(NAMES.values())
    base = _base(values).encode(yOffset=alt.YOffset("model:N", sort=names))
    scale = alt.Scale(domain=names, range=theme.series_colours(names))
    colour = alt.Color("model:N", scale=scale, title=None)
    bars = base.mark_bar().encode(x=_accuracy(), color=colour)
    title = alt.Title(
        "Layers 6-9 run twice improve variable assignment, untrained",
        subtitle="SmolLM2-135M-Instruct, five shots, n = 1,000 a task; thin line: 95 % interval",
    )
    return alt.layer(bars, _spread(base), title=title).properties(width=420, height={"step": 16})


def _base(values: list[dict[str, Any]]) -> Any:
    axis = alt.Axis(labelLimit=260, minExtent=200)  # wide fonts too
    return alt.Chart(charts.rows(values)).encode(
        y=alt.Y("task:N", sort=None, title=None, axis=axis)
    )


def _accuracy() -> Any:
    return alt.X("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))


def _spread(base: Any) -> Any:
    return base.mark_rule().encode(x=alt.X("low:Q", title="accuracy"), x2="high:Q")
