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
from .options import option, out_option, table_options
from .tables import Column, number, print_csv, show, value

if TYPE_CHECKING:
    from ..studies.reproduce.quickstart_report import ModelSummary


@click.command("quickstart", cls=Command)
@out_option("output folder", default="quickstart", show_default=True)
@option("--fast", is_flag=True, help="two models, a few steps: a minute, to try it out")
@table_options("print the results as JSON")
@click.pass_context
def command(ctx: click.Context, out: str, fast: bool, as_json: bool, as_csv: bool) -> None:
    """Train and compare looped, grown and standard models in ten minutes.

    Trains five small models (standard, two looped, two grown) on generated lessons on two CPU
    cores, scores them on reasoning primitives, repeats a block of the best one, measures how all
    use their depth, and builds a page with the paper's results for comparison. Nothing is
    downloaded. A stopped quick start resumes when it is called again.

    \b
    Examples:
      growloop quickstart
      growloop quickstart --fast --out trial
    """
    require_extra()
    from ..studies.reproduce.quickstart import FAST, FULL, QuickStart
    from ..tasks.evaluate import quiet

    quiet()
    line = shlex.join(["growloop", *(ctx.obj or [])])
    start = QuickStart(out, FAST if fast else FULL, line)
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
            "told": result.sentences,
        }
        click.echo(json.dumps(content, indent=2))
        return
    if as_csv:
        print_csv([_csv_row(summary) for summary in result.summaries])
        return
    _print_table(result.summaries)
    for sentence in result.sentences:
        click.echo(f"- {sentence}")
    click.echo(f"\nThe page: {result.page.resolve().as_uri()}")


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
