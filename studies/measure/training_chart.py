"""Chart of training runs: losses against optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import InputError
from . import charts


def loss_chart(runs: Mapping[str, Sequence[Mapping[str, Any]]], curves: Sequence[str]) -> Any:
    """Draw a line for each run and loss.

    Args:
        runs: name of a run -> its logged metrics, each with ``step``.
        curves: names of the losses.

    Raises:
        InputError: no run logged a loss.
    """
    alt = charts.altair()
    values = [
        {"step": row["step"], "loss": row[name], "run": run, "kind": name.replace("_", " ")}
        for run, rows in runs.items()
        for row in rows
        for name in curves
        if row.get(name) is not None
    ]
    if not values:
        raise InputError("no loss was logged, so there is nothing to draw")
    kinds = list(dict.fromkeys(value["kind"] for value in values))
    return (
        alt.Chart(charts.rows(values))
        .mark_line()
        .encode(
            x=charts.steps_line("step", "optimizer steps"),
            y=alt.Y("loss:Q", title="loss (nats a token)", scale=alt.Scale(zero=False)),
            color=charts.colour("run", list(runs)),
            strokeDash=charts.dash("kind", kinds, alone=True),
        )
        .properties(width=420, height=260)
    )
