"""``growloop quickstart``."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..tasks.evaluate import require_extra
from .board import Board
from .tables import Column, number, show, value

if TYPE_CHECKING:
    from ..studies.reproduce.report import Standing


@click.command("quickstart")
@click.option("--out", "-o", default="quickstart", show_default=True, help="folder of everything")
@click.option("--fast", is_flag=True, help="two models, hardly trained: a minute, to try it out")
@click.option("--json", "as_json", is_flag=True, help="print what was found as JSON")
@click.pass_context
def command(ctx: click.Context, out: str, fast: bool, as_json: bool) -> None:
    """See the whole point in ten minutes: train, score, study, compare, look.

    Trains small models of five kinds (standard, two looped, two grown) on generated lessons on two
    CPU cores, scores them on reasoning primitives, repeats a block of the best one, measures how
    all use their depth, and builds a page of it beside the paper's rows. Nothing is downloaded.
    Called again, it goes on where it was stopped, and does nothing twice.

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
            found = start.run(board)
    except KeyboardInterrupt:
        click.echo(f"stopped: {line} goes on from here", err=True)
        sys.exit(130)
    if as_json:
        content = {
            "page": str(found.page),
            "models": [asdict(standing) for standing in found.standings],
            "told": found.told,
        }
        click.echo(json.dumps(content, indent=2))
        return
    _print(found.standings)
    for sentence in found.told:
        click.echo(f"- {sentence}")
    click.echo(f"\nThe page: {found.page.resolve().as_uri()}")


def _print(standings: tuple[Standing, ...]) -> None:
    columns = [
        Column("model"),
        number("layers", fold=3),
        number("parameters", fold=2),
        number("training FLOPs", fold=4),
        *(number(name, fold=1) for name in standings[0].columns),
        value("mean ± s.e."),
    ]
    rows = [
        [
            line.kind,
            "{}, {} run".format(*line.layers),
            f"{line.parameters:,}",
            f"{line.training_flops:.2e}",
            *(f"{score:.3f}" for score in line.columns.values()),
            f"{line.score:.3f} ± {line.stderr:.3f}",
        ]
        for line in standings
    ]
    show(columns, rows)
