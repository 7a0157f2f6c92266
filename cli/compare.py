"""``growloop compare``: two finished evaluations, or two models on the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from .command import Command
from .options import leaderboard_option, picture_option, table_options, tasks_option
from .tables import Column, number, paragraph, print_csv, show, value


@click.command("compare", cls=Command)
@click.argument("first")
@click.argument("second")
@tasks_option("tasks or groups, separated by commas  [default: all of both]")
@leaderboard_option("compare records: FIRST and SECOND are names of models there")
@picture_option("draw the differences as a forest plot")
@table_options()
def command(
    first: str,
    second: str,
    tasks: str | None,
    leaderboard: str | None,
    picture: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Compare two evaluations question by question: FIRST minus SECOND.

    FIRST and SECOND are result files of growloop eval or lm-eval with their samples beside them,
    or folders with the results of one model, or folders of --suite. Each difference is taken over
    the questions that both answered, with a 95 % interval and the p-value of a paired test,
    corrected for the number of lines (Holm).

    With --leaderboard they are names of models in a folder of records. Records hold no answers, so
    those intervals are of two independent numbers, and wider.

    \b
    Examples:
      growloop compare results/looped results/plain
      growloop compare results/looped results/plain --tasks variable_assignment_code_d0
      growloop compare 'Loop(3x2)' 'Standard 6' --leaderboard records
      growloop compare results/looped results/plain --picture differences.svg
    """
    if picture is not None:
        from ..studies.measure.charts import check_picture

        check_picture(picture)
    chosen = [] if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    if leaderboard is not None:
        lines, notes, names = _records(leaderboard, first, second, chosen)
    else:
        lines, notes, names = _evaluations(first, second, chosen)
    if as_json:
        about = {"first": names[0], "second": names[1], "notes": notes}
        click.echo(json.dumps(about | {"rows": lines}, indent=2))
    elif as_csv:
        print_csv(lines)
    else:
        _print(lines, notes, names)
    if picture is not None:
        _draw(lines, notes, names, picture)


Lines = tuple[list[dict[str, Any]], list[str], tuple[str, str]]
"""Rows of the table, notes, and the names of both models."""


def _evaluations(first: str, second: str, tasks: Sequence[str]) -> Lines:
    from pathlib import Path

    from ..core.significance import holm

    if all((Path(folder) / "suite.json").is_file() for folder in (first, second)):
        return _suites(first, second, tasks)
    from ..tasks.compare_results import compare_results

    comparison = compare_results(first, second, tasks)
    adjusted = holm([row.p for row in comparison.rows])
    lines = [
        {
            "task": row.task,
            "level": row.level,
            "metric": row.metric.removesuffix(",none"),
            "n": row.n,
            "first": row.first,
            "second": row.second,
            "difference": row.difference,
            "low": row.low,
            "high": row.high,
            "p": row.p,
            "p_holm": p,
        }
        for row, p in zip(comparison.rows, adjusted, strict=True)
    ]
    return lines, list(comparison.notes), (comparison.first, comparison.second)


def _suites(first: str, second: str, tasks: Sequence[str]) -> Lines:
    from ..core.errors import unknown
    from ..tasks.benchmarks.paired import compare

    # the suite's own comparison is second minus first
    found = compare(second, first)
    for task in tasks:
        if task not in (names := [row.name for row in found]):
            raise unknown("task of both", task, names)
    lines = [
        {
            "task": row.name,
            "level": 0,
            "metric": "nats/token" if row.name == "holdout" else "%",
            "n": row.n,
            "first": row.second,
            "second": row.first,
            "difference": row.difference,
            "low": row.low,
            "high": row.high,
        }
        for row in found
        if not tasks or row.name in tasks
    ]
    return lines, [], (first, second)


def _records(folder: str, first: str, second: str, tasks: Sequence[str]) -> Lines:
    from ..leaderboard.compare import compare_records
    from ..leaderboard.entries import task_label
    from ..tasks.loading import require_extra
    from .leaderboard import gathered

    require_extra("leaderboard", "a comparison of records")
    lines = [
        {
            "task": task_label(row.first.task),
            "level": 0,
            "metric": row.first.task.metric,
            "seeds": min(row.first.seeds, row.second.seeds),
            "first": row.first.value,
            "second": row.second.value,
            "difference": row.difference,
            "low": row.low,
            "high": row.high,
        }
        for row in compare_records(gathered(folder, True), first, second, tasks)
    ]
    notes = ["not paired: records hold means, so the intervals are of independent numbers"]
    return lines, notes, (first, second)


def _draw(
    lines: Sequence[dict[str, Any]], notes: Sequence[str], names: tuple[str, str], picture: str
) -> None:
    from ..studies.measure.charts import save
    from ..studies.measure.forest_chart import Difference, forest_chart

    metrics = {"acc": "accuracy", "%": "percentage points", "nats/token": "nats a token"}
    differences = [
        Difference(
            line["task"],
            line["difference"],
            line["low"],
            line["high"],
            metrics.get(line["metric"], line["metric"]),
        )
        for line in lines
    ]
    about = "; ".join(["right of 0: the first is higher; lines: 95 % intervals", *notes])
    chart = forest_chart(differences, f"{names[0]} minus {names[1]}", about)
    click.echo(str(save(chart, picture)), err=True)


def _print(lines: Sequence[dict[str, Any]], notes: Sequence[str], names: tuple[str, str]) -> None:
    columns = [Column("task"), Column("metric", fold=3)]
    columns.append(number("seeds" if "seeds" in lines[0] else "n", fold=2))
    columns += [value("first"), value("second"), value("difference"), value("95 % interval")]
    tested = "p" in lines[0]
    if tested:
        columns.append(value(f"p (Holm of {len(lines)})"))
    rows = []
    for line in lines:
        interval = "" if line["low"] is None else f"[{line['low']:+.3f}, {line['high']:+.3f}]"
        row = ["  " * line["level"] + line["task"], line["metric"]]
        row.append(f"{line['seeds'] if 'seeds' in line else line['n']:,}")
        row += [f"{line['first']:.3f}", f"{line['second']:.3f}", f"{line['difference']:+.3f}"]
        row.append(interval)
        rows.append([*row, f"{line['p_holm']:.2g}"] if tested else row)
    show(columns, rows, f"{names[0]} (first) minus {names[1]} (second)")
    for note in notes:
        paragraph(note)
