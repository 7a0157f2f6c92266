"""``growloop reproduce``."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError, one_of
from ..tasks.evaluate import require_extra
from .board import Board
from .tables import paragraph

if TYPE_CHECKING:
    from ..studies.reproduce.plan import Cell
    from ..studies.reproduce.run import Reproduction

FORMATS = ("text", "json")


@click.command("reproduce")
@click.argument("scale")
@click.option("--out", "-o", help="folder of everything  [default: reproduce-SCALE]")
@click.option("--plan", "planned", is_flag=True, help="check and print the cells, and do nothing")
@click.option("--cell", type=int, help="do only this cell of the plan (for array jobs)")
@click.option("--only", metavar="PATTERN", help="do only cells like this: train, *lidas*, score/*")
@click.option("--seeds", type=int, default=3, show_default=True, help="trainings of each kind")
@click.option("--jobs", "-j", type=int, help="processes beside each other  [default: 2, or 1]")
@click.option("--device", help="cpu, cuda, cuda:1  [default: a GPU if there is one]")
@click.option("--data-dir", default="benchmarks", show_default=True, help="local benchmarks")
@click.option(
    "--mfu", type=float, default=0.4, show_default=True, help="share of the peak, assumed"
)
@click.option("--peak", type=float, default=989e12, show_default=True, help="FLOPs/s of a GPU")
@click.option("--fast", is_flag=True, help="laptop: two models, hardly trained, to try it out")
@click.option("--format", "form", default="text", show_default=True, help=", ".join(FORMATS))
@click.pass_context
def command(
    ctx: click.Context,
    scale: str,
    out: str | None,
    planned: bool,
    cell: int | None,
    only: str | None,
    seeds: int,
    jobs: int | None,
    device: str | None,
    data_dir: str,
    mfu: float,
    peak: float,
    fast: bool,
    form: str,
) -> None:
    """Reproduce the paper at a scale: train, score, study, compare, test its claims.

    SCALE is laptop (overnight on two cores), 360m or 1.7b (a cluster). Called again, it goes on
    where it was stopped, and does nothing twice.

    \b
    Examples:
      growloop reproduce laptop --plan
      growloop reproduce laptop
      growloop reproduce laptop --jobs 8 --device cuda
      growloop reproduce 360m --plan --mfu 0.35
      growloop reproduce 360m --cell 3
    """
    one_of("format", form, FORMATS)
    if only is not None and cell is not None:
        raise InputError("give --cell or --only, one of them")
    for name, value in (("mfu", mfu), ("peak", peak)):
        if not value > 0:
            raise InputError(f"--{name} must be more than 0, not {value:g}")
    require_extra()
    from ..studies.reproduce.plan import chosen
    from ..studies.reproduce.run import Reproduction
    from ..studies.reproduce.settings import Settings
    from ..tasks.evaluate import best_device, check_device, quiet

    quiet()
    line = shlex.join(["growloop", *(ctx.obj or [])])
    folder = out or f"reproduce-{scale}"
    device = device or best_device()
    found = Reproduction(Settings(scale, folder, seeds, fast, device, data_dir, line))
    wanted = chosen(found.cells, only)
    check_device(device)
    if planned:
        from .plan import print_plan

        found.check(wanted)
        print_plan(found, wanted, mfu, peak, form == "json", _again(ctx.obj or []))
        return
    if cell is not None and not 0 <= cell < len(found.cells):
        raise InputError(f"--cell is a number from 0 to {len(found.cells) - 1}, not {cell}")
    try:
        if cell is None:
            most = 1 if found.scale.launched else min(2, os.cpu_count() or 1)
            with Board(_weights(found, wanted)) as board:
                found.run(wanted, most if jobs is None else jobs, board)
        else:
            with Board(_weights(found, [found.cells[cell]])) as board:
                found.cell(found.cells[cell], board)
    except KeyboardInterrupt:
        click.echo(f"stopped: {line} goes on from here", err=True)
        sys.exit(130)
    _print(found, form == "json")


def _weights(found: Reproduction, wanted: Sequence[Cell]) -> dict[str, float]:
    """The share of the time that each cell takes, about."""
    return {cell.id: found.estimate(cell).hours * 3600 or 1.0 for cell in wanted}


def _again(given: Sequence[str]) -> str:
    """The command, without what asks for the plan."""
    rest = list(given)
    for name in ("--plan", "--only", "--format", "--mfu", "--peak"):
        while name in rest:
            place = rest.index(name)
            del rest[place : place + (1 if name == "--plan" else 2)]
    return shlex.join(["growloop", *rest])


def _print(found: Reproduction, as_json: bool) -> None:
    measured = [f for f in found.findings if f.kind == "measured"]
    if as_json:
        content: dict[str, Any] = {
            "page": None if found.page is None else str(found.page),
            "claims": {f.claim.id: f.verdict for f in measured},
        }
        click.echo(json.dumps(content, indent=2))
        return
    run = [f for f in measured if f.verdict != "not run at this scale"]
    for finding in run:
        paragraph(f"{finding.verdict:12}  {finding.claim.statement}", hanging=14)
    if measured:
        click.echo(f"{len(measured) - len(run)} claims were not tested")
    if found.page is not None:
        click.echo(f"\nThe page: {found.page.resolve().as_uri()}")
