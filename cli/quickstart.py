"""Command ``growloop quickstart``."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..tasks.evaluate import require_extra
from .board import Board
from .command import Command
from .options import option, out_option, seed_option, table_options
from .tables import Column, number, paragraph, print_csv, show, value

if TYPE_CHECKING:
    from ..leaderboard.site.introduction import Introduction
    from ..studies.reproduce.quickstart_report import ModelSummary

LINE = 80  # letters of a line, in a log too


@click.command("quickstart", cls=Command)
@out_option("output folder", default="quickstart", show_default=True)
@option("--fast", is_flag=True, help="a few steps and questions: a minute, to try it out")
@seed_option("initial weights and lessons; the questions stay the same")
@table_options("print the results as JSON")
@click.pass_context
def command(
    ctx: click.Context, out: str, fast: bool, seed: int, as_json: bool, as_csv: bool
) -> None:
    """Train and compare looped, grown and standard models in ten minutes.

    Does looping save parameters, and growing training FLOPs? Trains four small models on generated
    lessons on two CPU cores: six layers (standard), three layers run twice (looped), two layers
    grown to six (LIDAS), and as a control three layers run once. Scores them on reasoning
    primitives, compares them question by question, runs two studies, and builds a page with the
    paper's results next to them. Nothing is downloaded. A stopped quick start resumes when it is
    called again.

    \b
    Examples:
      growloop quickstart
      growloop quickstart --fast --out trial
      growloop quickstart --seed 1 --out quickstart-seed-1
    """
    require_extra()
    from ..studies.reproduce.quickstart import FAST, FULL, QuickStart
    from ..tasks.evaluate import quiet

    quiet()
    line = shlex.join(["growloop", *(ctx.obj or [])])
    start = QuickStart(out, FAST if fast else FULL, line, seed)
    try:
        with Board(start.parts) as board:
            result = start.run(board)
    except KeyboardInterrupt:
        click.echo(f"stopped: {line} resumes from here", err=True)
        sys.exit(130)
    if as_json:
        content = {
            "page": str(result.page),
            "models": [asdict(summary) for summary in result.summaries],
            **asdict(result.introduction),
        }
        click.echo(json.dumps(content, indent=2))
        return
    if as_csv:
        print_csv([_csv_row(summary) for summary in result.summaries])
        return
    _print_table(result.summaries)
    _print_introduction(result.introduction)
    click.echo(f"\nThe page: {result.page.resolve().as_uri()}")


def _print_introduction(introduction: Introduction) -> None:
    """Print what was done, what it means, and commands to copy, in lines of at most 80 letters."""
    for title, sentences in (
        ("What was done", [introduction.done]),
        ("What it means", introduction.findings),
    ):
        click.echo("\n" + click.style(title, bold=True))
        for sentence in sentences:
            paragraph(f"- {sentence}".replace(" %", "\xa0%"), hanging=2, most=LINE)
    click.echo("\n" + click.style("What to run next", bold=True))
    for command in introduction.commands:
        paragraph(f"- {command.purpose}:", hanging=2, most=LINE)
        for line in command.line.splitlines():
            click.echo(f"  {line}")


def _csv_row(summary: ModelSummary) -> dict[str, Any]:
    row: dict[str, Any] = asdict(summary)
    row["unique_layers"], row["layers_run"] = row.pop("layers")
    columns: dict[str, Any] = row.pop("columns")
    return row | columns


def _print_table(summaries: tuple[ModelSummary, ...]) -> None:
    columns = [
        Column("model"),
        number("layers", fold=3),
        number("parameters", fold=2),
        number("training FLOPs", fold=4),
        *(number(name, fold=1) for name in summaries[0].columns),
        value("mean ± s.e."),
    ]
    rows = [
        [
            model.kind,
            "{}, {} run".format(*model.layers),
            f"{model.parameters:,}",
            f"{model.training_flops:.2e}",
            *(f"{score:.3f}" for score in model.columns.values()),
            f"{model.score:.3f} ± {model.stderr:.3f}",
        ]
        for model in summaries
    ]
    show(columns, rows)
