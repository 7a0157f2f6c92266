"""``growloop eval --suite``: run of the suite, with tables of its tasks and its row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..core.errors import InputError
from .evaluation_outputs import Outputs
from .evaluation_tables import score_columns
from .tables import paragraph, print_csv, show, value

if TYPE_CHECKING:
    from ..tasks.benchmarks import SuiteRequest, SuiteResult


FIXED_BY_SUITE = ("tasks", "param", "shots", "fixed_shots", "seed", "trust_task_code")


def refuse_given(ctx: click.Context, names: tuple[str, ...], why: str) -> None:
    """Refuse options that do not go with another one.

    Args:
        names: names of the options.
        why: what the message says after the option.

    Raises:
        InputError: the command line gives one of them.
    """
    for name in names:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {why}")


def run(request: SuiteRequest, outputs: Outputs) -> None:
    """Score, add records to the leaderboard, and print."""
    from ..tasks.benchmarks import score_suite
    from ..tasks.scoring.processes import first

    def say(line: str) -> None:
        if first():
            click.echo(f"suite: {line}", err=True)

    scored = score_suite(request, say)
    if scored is None:  # not the first of several processes
        return
    result, path = scored
    added = 0
    if outputs.leaderboard is not None:  # before anything is printed: that may fail
        added = _add(result, request.source.name, outputs)
    if outputs.as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    elif outputs.as_csv:
        print_csv(_csv_rows(result))
    else:
        _print(result)
    for reason in dict.fromkeys(result.missing.values()):
        click.echo(f"missing: {reason}", err=True)
    click.echo(str(path), err=True)
    outputs.report(added)


def _add(result: SuiteResult, model: str, outputs: Outputs) -> int:
    """Add a row to the leaderboard's records; return the number of records added."""
    from ..leaderboard import Store
    from ..studies.describe import describe
    from ..studies.publish_suite import suite_records

    about: dict[str, Any] = {"growloop": {"schedule": result.schedule}}
    describe(about, model, outputs.name)
    own = about["growloop"]
    records = suite_records(result, own["model"], own["cost"], outputs.command)
    return Store(outputs.leaderboard or "").add(records)


def _csv_rows(result: SuiteResult) -> list[dict[str, Any]]:
    """Return a row for each task, then one for each column of the table row."""
    rows: list[dict[str, Any]] = []
    if nll := result.holdout:
        value = nll.nats_per_token
        rows.append(
            {"level": "task", "name": "holdout", "n": nll.documents, "metric": "nats/token",
             "value": value}
        )  # fmt: skip
    for name, task in result.tasks.items():
        rows.append(
            {"level": "task", "name": name, "n": task.n, "shots": task.shots,
             "metric": task.metric, "value": task.value, "stderr": task.stderr}
        )  # fmt: skip
    for cell in result.cells:
        rows.append(
            {"level": "column", "name": cell.title, "value": cell.value, "stderr": cell.stderr}
        )
    return rows


def _print(result: SuiteResult) -> None:
    _tasks(result)
    click.echo()
    _row(result)
    if not result.complete:
        paragraph("incomplete: a column with a missing task has no mean")
    if limit := result.settings["limit"]:
        paragraph(f"only the first {limit:,} questions of each task")
    for name, rows in result.partial.items():
        paragraph(f"{name}: the local file holds {rows}")
    for name, remark in result.remarks.items():
        paragraph(f"{name}: {remark}")


def _tasks(result: SuiteResult) -> None:
    from ..tasks.benchmarks import COLUMNS

    rows: list[list[str]] = []
    if nll := result.holdout:
        rows.append(
            ["holdout", f"{nll.documents:,}", "", "nats/token", f"{nll.nats_per_token:.4f}", ""]
        )
        for unit, amount in (
            ("bits/token", nll.bits_per_token),
            ("nats/byte", nll.nats_per_byte),
            ("bits/byte", nll.bits_per_byte),
        ):
            rows.append(["", "", "", unit, f"{amount:.4f}", ""])
    for column in COLUMNS:
        if len(column.members) > 1:
            rows.append([column.group, *[""] * 5])
        for member in column.members:
            name = ("  " if len(column.members) > 1 else "") + member.task
            task = result.tasks.get(member.task)
            if task is None:
                rows.append([name, "–", str(member.shots), member.metric, "–", ""])
                continue
            error = "" if task.stderr is None else f"{100 * task.stderr:.2f}"
            shown = f"{100 * task.value:.2f}"
            rows.append([name, f"{task.n:,}", str(task.shots), task.metric, shown, error])
    columns = score_columns("value %")
    show(columns, rows, style=lambda place: {"bold": True} if not any(rows[place][1:]) else {})


def _row(result: SuiteResult) -> None:
    title = result.model + (f", schedule {result.schedule}" if result.schedule else "")
    title += "" if result.complete else " (incomplete)"
    values = ["–" if cell.value is None else f"{cell.value:.2f}" for cell in result.cells]
    errors = ["" if cell.stderr is None else f"± {cell.stderr:.2f}" for cell in result.cells]
    columns = [value(cell.title) for cell in result.cells]
    show(columns, [values, errors], title, lambda place: {} if place else {"bold": True})
