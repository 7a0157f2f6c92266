"""Command ``growloop leaderboard``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ..tasks.loading import require_extra
from .command import Group
from .options import (
    json_option,
    leaderboard_option,
    model_option,
    option,
    out_option,
    table_options,
    tasks_option,
    trust_option,
)
from .tables import Column, number, paragraph, value
from .tables import show as show_table

if TYPE_CHECKING:
    from ..leaderboard import Leaderboard, Record
    from ..leaderboard.panels import Panel

FOLDER = click.argument("folder", default="records", metavar="[FOLDER]")
WITHOUT_PAPER = option("--no-paper", is_flag=True, help="leave out the paper's rows")


@click.group("leaderboard", cls=Group)
def command() -> None:
    """Keep results as records, and show them as tables and pages.

    Records are added by growloop eval, study and sft with --leaderboard FOLDER, and from lm-eval's
    result files. FOLDER is records if not given.

    \b
    Examples:
      growloop eval --model ./checkpoint --leaderboard records
      growloop leaderboard add results/*/results_*.json
      growloop leaderboard show --tasks 'reasoning_primitives*'
      growloop leaderboard build --out site
    """
    require_extra("leaderboard", "a leaderboard")


@command.command("add")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@leaderboard_option(
    "folder of records", "folder", aliases=("--to",), default="records", show_default=True
)
@model_option("scored checkpoint, for its schedule and costs")
@trust_option
@option("--name", help="name of the model  [default: of its run, or its path]")
def add(files: tuple[str, ...], folder: str, model: str | None, name: str | None) -> None:
    """Add the results in lm-eval's result files to the records.

    Results that are there already change nothing. Results of growloop eval name their model; for
    others give --model. If one of several files cannot be read, none is added; the message names
    all that cannot.

    \b
    Examples:
      growloop leaderboard add results/lidas/results_2026-11-22T07-15-35.940867.json
      growloop leaderboard add results.json --model ./checkpoint --name our-model
    """
    from pathlib import Path

    from ..core.errors import InputError
    from ..leaderboard import Store
    from ..leaderboard.harness import load, records, rename

    found: list[Record] = []
    problems: list[str] = []
    for file in files:
        try:
            results = load(file)
        except InputError as error:
            problems.append(str(error))
            continue
        if model is not None:
            from ..studies.describe import checked_name, describe

            describe(results, model, checked_name(name))
        elif name is not None:
            rename(results, name)
        try:
            found += records(results, source=Path(file).name)
        except InputError as error:
            problems.append(f"{file}: {error}")
    if problems:
        rest = f"; none of the {len(files):,} files was added" if len(files) > 1 else ""
        raise InputError("; ".join(problems) + rest)
    added = Store(folder).add(found)
    click.echo(f"{added:,} records added to {folder}, {len(found) - added:,} were there already")


@command.command("check")
@FOLDER
@json_option("print the problems as JSON")
def check(folder: str, as_json: bool) -> None:
    """Check every record.

    An invalid record is printed with file, line and field, and the exit code is 2.

    \b
    Example:
      growloop leaderboard check records
    """
    from dataclasses import asdict

    from ..leaderboard import Store
    from ..leaderboard.store import check as problems_of

    problems = problems_of(folder)
    count = len(Store(folder).scan().records)
    if as_json:
        found = [asdict(problem) for problem in problems]
        click.echo(json.dumps({"ok": not problems, "records": count, "problems": found}, indent=2))
    else:
        for problem in problems:
            click.echo(str(problem), err=True)
        state = "all right" if not problems else f"{len(problems):,} problems"
        click.echo(f"{count:,} records: {state}", err=bool(problems))
    if problems:
        sys.exit(2)


@command.command("show")
@FOLDER
@tasks_option(
    "names or patterns with commas, e.g. 'variable_assignment_*'  [default: all]",
    aliases=("--task",),
)
@model_option("pattern for the model", default="*")
@option("--study", help="results of a study, or all  [default: plain evaluations]")
@WITHOUT_PAPER
@table_options("print the lines as JSON", "print the lines as CSV")
def show(
    folder: str,
    tasks: str | None,
    model: str,
    study: str | None,
    no_paper: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print the results: a table for those that may be ranked together.

    A table holds results of one task (version, data, shots, split, prompting) and of models of one
    size. Results that the paper reports have their own tables. A narrow terminal folds columns, and
    says which.

    \b
    Examples:
      growloop leaderboard show
      growloop leaderboard show --tasks 'reasoning_primitives*' --no-paper
      growloop leaderboard show --study sample-efficiency --json
    """
    from ..leaderboard import export
    from ..leaderboard.panels import panels

    board = loaded(folder, no_paper)
    studies = board.studies
    selected = board.select(tasks or "*", model, study).entries
    if as_json:
        click.echo(export.as_json(selected), nl=False)
    elif as_csv:
        click.echo(export.as_csv(selected), nl=False)
    elif not selected and studies and study is None:
        click.echo(
            f"no such results of evaluations; of studies: --study all, or one of "
            f"{', '.join(studies)}"
        )
    elif not selected:
        click.echo("no results: growloop eval --model MODEL --leaderboard records adds some")
    else:
        for panel in panels(selected):
            _print(panel, studies=study == "all")
        every = board.select(tasks or "*", model).entries
        if study is None and (rest := [entry for entry in every if entry.first.study]):
            names = sorted({str(entry.first.study) for entry in rest})
            paragraph(
                f"{len(rest):,} results of studies are not shown: --study all, or one of "
                f"{', '.join(names)}"
            )


@command.command("build")
@FOLDER
@out_option("folder of the site", default="site", show_default=True)
@option("--title", default="growloop leaderboard", show_default=True, help="title")
@WITHOUT_PAPER
def build(folder: str, out: str, title: str, no_paper: bool) -> None:
    """Write the leaderboard as a static site.

    The site has tables, charts, and a page for each model and study.

    It needs no server and no network: open index.html, or copy the folder to any host. A site that
    was there is replaced.

    \b
    Example:
      growloop leaderboard build --out site
    """
    from ..leaderboard.site import page

    click.echo(str(page.build(loaded(folder, no_paper).records, out, title, folder)))


@command.command("serve")
@FOLDER
@option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="port")
@WITHOUT_PAPER
def serve(folder: str, port: int, no_paper: bool) -> None:
    """Build the site and show it on this machine alone, until Ctrl-C.

    \b
    Example:
      growloop leaderboard serve --port 8000
    """
    import tempfile

    from ..leaderboard.site import page
    from ..leaderboard.site.serving import server

    records = loaded(folder, no_paper).records
    with tempfile.TemporaryDirectory() as root:
        page.build(records, f"{root}/site", source=folder)
        with server(f"{root}/site", port) as running:
            click.echo(f"http://127.0.0.1:{running.server_port}/  (Ctrl-C ends it)")
            try:
                running.serve_forever()
            except KeyboardInterrupt:
                click.echo("", err=True)


def loaded(folder: str, no_paper: bool) -> Leaderboard:
    """Load the leaderboard; print problems on standard error."""
    from ..leaderboard import load

    board = load(folder, paper=not no_paper)
    for problem in board.left_out[:10]:
        click.echo(f"left out: {problem}", err=True)
    if len(board.left_out) > 10:
        click.echo(f"... and {len(board.left_out) - 10:,} more", err=True)
    return board


def _print(panel: Panel, studies: bool) -> None:
    """Print a panel of comparable results as a table.

    Args:
        studies: add a column with the study of each result.
    """
    from ..leaderboard.entries import task_label
    from ..leaderboard.interval_basis import interval_basis_text
    from ..leaderboard.site.formats import si

    task = panel.task
    chance = "" if task.chance is None else f", chance {task.chance:.2f}"
    better = "" if task.higher_is_better else ", lower is better"
    columns = [
        Column("model"),
        *([Column("study")] if studies else []),
        Column("kind", fold=1),
        number("layers", fold=5),
        number("parameters", fold=6),
        number("FLOPs/token", fold=7),
        number("n", fold=2),
        number("seeds", fold=3),
        value("score"),
        value("95 % interval"),
        value("over"),
        number("above chance", fold=4),
    ]
    rows = []
    for entry in panel.entries:
        model, record = entry.model, entry.first
        loops = {} if record.loops is None else {"loops": record.loops}
        conditions = (record.conditions | loops).items()
        what = "".join(
            f", {name}" if value is True else f", {name} {value}" for name, value in conditions
        )
        rows.append(
            [
                entry.label + what + (" (reported)" if record.kind == "reported" else ""),
                *([record.study or "–"] if studies else []),
                model.family,
                f"{model.unique_layers or '–'}/{entry.layers_run or '–'}",
                si(record.cost.unique_parameters, "B"),
                si(record.cost.inference_flops),
                "–" if entry.n is None else f"{entry.n:,}",
                str(entry.seeds),
                f"{entry.value:.3f}",
                "–" if entry.interval is None else "{:.3f} – {:.3f}".format(*entry.interval),
                interval_basis_text(entry) or "–",
                "–" if entry.centred is None else f"{entry.centred:+.3f}",
            ]
        )
    show_table(columns, rows, f"{task_label(task)}{chance}{better}; {panel.title}")
    paragraph(f"({panel.comparable})")
    click.echo()
