"""Comparison of two evaluations question by question, or of two models by their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, one_of, shown
from ..core.tabular import Tabular
from .evaluation_result import EvaluationResult

if TYPE_CHECKING:
    from ..tasks.compare_results import Evaluation

UNITS = {"acc": "accuracy", "%": "percentage points", "nats/token": "nats a token"}
"""Metric -> unit on the axis of a chart."""


@dataclass(frozen=True)
class ComparisonResult(Tabular):
    """Differences of two models: first minus second, one row a task and metric.

    Columns: ``task``, ``level`` (1 for a member of the group above), ``metric``, ``n`` (or
    ``seeds`` of records), ``first``, ``second``, ``difference``, ``low`` and ``high`` (95 %
    interval), and of paired comparisons ``p`` and ``p_holm``, corrected for the number of rows.

    Args:
        first, second: names of the models.
        rows: column -> value of each row.
        remarks: what was left out or differs.
    """

    first: str
    second: str
    rows: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...] = ()

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table: column -> value."""
        return [dict(row) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return names, notes and rows."""
        about = {"first": self.first, "second": self.second, "notes": list(self.remarks)}
        return about | {"rows": self.to_rows()}

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return f"{self.first} (first) minus {self.second} (second)"

    @property
    def notes(self) -> Sequence[str]:
        """Lines below the table in a notebook."""
        return self.remarks

    def chart(self) -> Any:
        """Draw the differences with their 95 % intervals as a forest plot, an Altair chart.

        Raises:
            InputError: Altair is not installed.
        """
        from ..studies.measure.charts import finish
        from ..studies.measure.forest_chart import Difference, forest_chart

        differences = [
            Difference(
                row["task"],
                row["difference"],
                row["low"],
                row["high"],
                UNITS.get(row["metric"], row["metric"]),
            )
            for row in self.rows
        ]
        about = ["right of 0: the first is higher; lines: 95 % intervals", *self.remarks]
        return finish(
            forest_chart(differences, f"{self.first} minus {self.second}", "; ".join(about))
        )


def compare(
    first: str | Path | EvaluationResult,
    second: str | Path | EvaluationResult,
    tasks: Sequence[str] = (),
    *,
    leaderboard: str | Path | None = None,
) -> ComparisonResult:
    """Compare two evaluations: first minus second, over the questions that both answered.

    Args:
        first, second: results of :func:`growloop.evaluate`; result files of growloop or lm-eval
            with their samples beside them; folders with the results of one model; folders of
            ``--suite``. With ``leaderboard`` names of models there.
        tasks: tasks or groups to compare; by default all of both.
        leaderboard: folder of records. Records hold no answers: intervals are of two independent
            numbers, and wider.

    Raises:
        InputError: nothing to compare, an unknown task or model.

    Example::

        growloop.compare(looped, plain).to_pandas()
    """
    if isinstance(tasks, str):
        tasks = [name.strip() for name in tasks.split(",") if name.strip()]
    if leaderboard is not None:
        return _records(str(leaderboard), str(first), str(second), tasks)
    for side in (first, second):
        if not isinstance(side, (str, Path, EvaluationResult)):
            raise InputError(
                f"compare takes results of evaluations or their folders, not {shown(side)}"
            )
    sides: list[Any] = [
        _evaluation(side) if isinstance(side, EvaluationResult) else side
        for side in (first, second)
    ]
    if all(isinstance(s, (str, Path)) and (Path(s) / "suite.json").is_file() for s in sides):
        return _suites(str(first), str(second), tasks)
    return _evaluations(sides[0], sides[1], tasks)


def _evaluation(result: EvaluationResult) -> Evaluation:
    """Collect the per-item scores of a result in memory."""
    from ..tasks.compare_results import evaluation_of

    if len(result.results) != 1:
        raise InputError(
            f"the result of {result.model} has {len(result.results)} schedules: compare one of each"
        )
    [fields], [samples] = result.results, result.samples
    return evaluation_of(
        fields, lambda task: samples.get(task, "this result holds none"), result.model
    )


def _evaluations(first: Any, second: Any, tasks: Sequence[str]) -> ComparisonResult:
    from ..core.significance import holm
    from ..tasks.compare_results import compare_results

    comparison = compare_results(first, second, tasks)
    adjusted = holm([row.p for row in comparison.rows])
    rows = [
        _row(row.task, row.metric.removesuffix(",none"), row.first, row.second, row, row.level)
        | {"p": row.p, "p_holm": p}
        for row, p in zip(comparison.rows, adjusted, strict=True)
    ]
    return ComparisonResult(comparison.first, comparison.second, tuple(rows), comparison.notes)


def _row(
    task: str, metric: str, first: float, second: float, difference: Any, level: int = 0
) -> dict[str, Any]:
    """Return a row of the table.

    Args:
        first, second: scores of the models.
        difference: first minus second; has ``difference``, ``low``, ``high``, and ``n`` or
            ``seeds``.
    """
    count = "n" if hasattr(difference, "n") else "seeds"
    return {
        "task": task,
        "level": level,
        "metric": metric,
        count: getattr(difference, count),
        "first": first,
        "second": second,
        "difference": difference.difference,
        "low": difference.low,
        "high": difference.high,
    }


def _suites(first: str, second: str, tasks: Sequence[str]) -> ComparisonResult:
    from ..tasks.benchmarks.paired import compare as compare_suites

    # the suite's own comparison is second minus first
    found = compare_suites(second, first)
    for task in tasks:
        one_of("task of both", task, [row.name for row in found])
    rows = [
        _row(row.name, "nats/token" if row.name == "holdout" else "%", row.second, row.first, row)
        for row in found
        if not tasks or row.name in tasks
    ]
    return ComparisonResult(first, second, tuple(rows))


def _records(folder: str, first: str, second: str, tasks: Sequence[str]) -> ComparisonResult:
    from ..leaderboard.compare import compare_records
    from ..leaderboard.entries import task_label
    from ..leaderboard.loading import load
    from ..tasks.loading import require_extra

    require_extra("leaderboard", "a comparison of records")
    board = load(folder, paper=False)
    rows = [
        _row(task_label(row.task), row.task.metric, row.first.value, row.second.value, row)
        for row in compare_records(board.records, first, second, tasks)
    ]
    notes = ["not paired: records hold means, so the intervals are of independent numbers"]
    left_out = (f"left out: {problem}" for problem in board.left_out[:10])
    return ComparisonResult(first, second, tuple(rows), (*left_out, *notes))
