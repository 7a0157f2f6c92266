"""Matrix of models and tasks: the score of each model on each task, one table a group of models.

Models of one scale are a group, measured and reported ones apart, as in the ranked tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..entries import LeaderboardEntry
from ..panels import Panel
from ..records import SHARES, Task
from .theme import TINTS

SHOWN = 6  # columns shown before the reader chooses
WIDE = 0.2  # width of an interval of an accuracy from which its score says little


@dataclass(frozen=True)
class MatrixCell:
    """Score of a model on a task.

    Args:
        wide: the interval is wider than WIDE, so the score says little.
        best: no model of the group is clearly better, and the interval is not wide.
        tint: shade by the score, 0 at chance and ``TINTS - 1`` if all is right; None for metrics
            that are not accuracies.
    """

    entry: LeaderboardEntry
    wide: bool
    best: bool
    tint: int | None


@dataclass(frozen=True)
class MatrixRow:
    """Model, and its cell for each task of the matrix, None where it was not evaluated."""

    entry: LeaderboardEntry
    cells: tuple[MatrixCell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """Scores of a group of models.

    Args:
        title: scale and origin.
        tasks: columns, the suite and the tasks of most models first.
    """

    title: str
    reported: bool
    tasks: tuple[Task, ...]
    rows: tuple[MatrixRow, ...]


def matrices(panels: Sequence[Panel]) -> list[Matrix]:
    """Return a matrix for each group of models, measured ones first."""
    groups: dict[tuple[bool, str], list[Panel]] = {}
    for panel in panels:
        groups.setdefault((panel.reported, panel.scale), []).append(panel)
    return [_matrix(group) for _, group in sorted(groups.items(), key=lambda item: item[0][0])]


def _matrix(group: Sequence[Panel]) -> Matrix:
    group = sorted(group, key=_priority)
    rows: dict[tuple[object, ...], list[MatrixCell | None]] = {}
    first: dict[tuple[object, ...], LeaderboardEntry] = {}
    for place, panel in enumerate(group):
        for entry, rank in zip(panel.entries, panel.ranks, strict=True):
            key = entry.key, entry.label
            cells = rows.setdefault(key, [None] * len(group))
            wide, several = _is_wide(entry), len(panel.entries) > 1
            cells[place] = MatrixCell(entry, wide, rank == 1 and several and not wide, _tint(entry))
            first.setdefault(key, entry)
    return Matrix(
        group[0].title,
        group[0].reported,
        tuple(panel.task for panel in group),
        tuple(MatrixRow(first[key], tuple(cells)) for key, cells in rows.items()),
    )


def _priority(panel: Panel) -> tuple[object, ...]:
    suite = panel.task.name.startswith("reasoning_primitives")
    return not suite, -len(panel.entries), panel.task.key


def _is_wide(entry: LeaderboardEntry) -> bool:
    if entry.interval is None or entry.task.metric not in SHARES:
        return False
    return entry.interval[1] - entry.interval[0] > WIDE


def _tint(entry: LeaderboardEntry) -> int | None:
    if entry.task.metric not in SHARES:
        return None
    share = entry.value if entry.centred is None else entry.centred
    return round(max(0.0, min(1.0, share)) * (TINTS - 1))
