"""Tables of ``growloop eval``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .tables import Column, number, show, value

if TYPE_CHECKING:
    from ..tasks.results import Row


def score_columns(score: str) -> list[Column]:
    """Return the columns of a table of scores, one line per task and metric.

    Args:
        score: head of the column of scores, with its unit.
    """
    return [
        Column("task"),
        number("n", fold=2),
        number("shots", fold=1),
        Column("metric"),
        value(score),
        value("± s.e."),
    ]


def print_table(title: str, rows: list[Row]) -> None:
    """Print one line per task and metric."""
    columns = [*score_columns("value"), number("chance", fold=3)]
    lines = [
        [
            "  " * row.level + row.task,
            "" if row.n is None else f"{row.n:,}",
            "" if row.shots is None else str(row.shots),
            row.metric,
            f"{row.value:.4f}",
            "" if row.stderr is None else f"{row.stderr:.4f}",
            "" if row.chance is None else f"{row.chance:.4f}",
        ]
        for row in rows
    ]
    show(columns, lines, title, lambda place: _group(rows[place]))


def print_curve(title: str, rows: list[Row], shots: Sequence[int]) -> None:
    """Print accuracy by number of shots: one line per task, one column per number."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    firsts = [points[0] for points in by_task.values()]
    columns = [Column("task"), number("n", fold=1), *(value(str(count)) for count in shots)]
    lines = [
        [
            "  " * first.level + task,
            "" if first.n is None else f"{first.n:,}",
            *(f"{row.value:.4f}" for row in points),
            "" if first.chance is None else f"{first.chance:.4f}",
        ]
        for first, (task, points) in zip(firsts, by_task.items(), strict=True)
    ]
    title = f"{title}: accuracy by examples"
    show([*columns, number("chance", fold=2)], lines, title, lambda place: _group(firsts[place]))


def _group(row: Row) -> dict[str, bool]:
    """Return the style of a row: bold for the mean of a group."""
    return {"bold": True} if row.level == 0 and row.n is None else {}
