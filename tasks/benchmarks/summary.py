"""Result of a suite: one table row, with the results of its tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .catalog import APART, COLUMNS, NLL
from .holdout import Likelihood
from .store import TaskResult


@dataclass(frozen=True)
class Cell:
    """Number of the row: in percent, or in nats per token.

    Args:
        value: None if a task is missing.
        stderr: from the standard errors of the tasks, or None.
        missing: tasks without a result.
    """

    key: str
    title: str
    value: float | None
    stderr: float | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuiteResult:
    """Result of a model on the suite; ``suite.json`` holds its ``to_dict()``.

    Args:
        settings: everything the numbers depend on, except the data.
        cells: the row, in the order of the paper's tables, GSM8K last.
        missing: task -> why it has no result.
    """

    model: str
    settings: Mapping[str, Any]
    cells: list[Cell]
    tasks: Mapping[str, TaskResult]
    holdout: Likelihood | None
    missing: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether all seven columns have a value."""
        return all(cell.value is not None for cell in self.cells if cell.key not in APART)

    @property
    def partial(self) -> dict[str, str]:
        """Tasks whose local file has fewer rows than the data set -> both numbers."""
        return {
            name: f"{result.rows:,} of {result.published:,} rows"
            for name, result in self.tasks.items()
            if result.partial
        }

    @property
    def remarks(self) -> dict[str, str]:
        """Tasks -> remarks on requests that were not run as the task specifies."""
        return {
            name: ", ".join(f"{kind}: {number:,}" for kind, number in result.notes.items())
            for name, result in self.tasks.items()
            if result.notes
        }

    @property
    def schedule(self) -> str | None:
        """Schedule of the layers, if the model was looped."""
        return next((result.schedule for result in self.tasks.values()), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``suite.json``, without per-item results."""
        tasks = {name: asdict(result) for name, result in self.tasks.items()}
        for result in tasks.values():
            del result["items"]  # they are in the tasks' own files
        return {
            "suite": "paper",
            "version": 1,
            "model": self.model,
            "schedule": self.schedule,
            "settings": dict(self.settings),
            "complete": self.complete,
            "row": {cell.key: cell.value for cell in self.cells},
            "stderr": {cell.key: cell.stderr for cell in self.cells},
            "partial": self.partial,
            "remarks": self.remarks,
            "missing": dict(self.missing),
            "tasks": tasks,
            "holdout": None if self.holdout is None else self.holdout.to_dict(),
        }


def summarise(
    model: str,
    settings: Mapping[str, Any],
    tasks: Mapping[str, TaskResult],
    holdout: Likelihood | None,
    missing: Mapping[str, str],
) -> SuiteResult:
    """Average tasks to columns; a column is the plain mean of its tasks if none is missing."""
    cells = [
        Cell(
            NLL,
            "Holdout NLL",
            None if holdout is None else holdout.nats_per_token,
            None if holdout is None else holdout.stderr,
            () if holdout else (NLL,),
        )
    ]
    for column in COLUMNS:
        names = [member.task for member in column.members]
        absent = tuple(name for name in names if name not in tasks)
        value = stderr = None
        if not absent:
            value = 100 * sum(tasks[name].value for name in names) / len(names)
            errors = [tasks[name].stderr for name in names]
            known = [error for error in errors if error is not None]
            if len(known) == len(names):
                stderr = 100 * math.sqrt(sum(error**2 for error in known)) / len(names)
        cells.append(Cell(column.key, column.title, value, stderr, absent))
    return SuiteResult(model, settings, cells, tasks, holdout, missing)
