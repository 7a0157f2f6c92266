"""Command ``growloop reproduce``."""

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
from .command import Command
from .options import device_option, option, out_option, plan_option, table_options
from .tables import paragraph, print_csv

if TYPE_CHECKING:
    from ..studies.reproduce.plan import PlanCell
    from ..studies.reproduce.run import Reproduction

FORMATS = ("text", "json")


@click.command("reproduce", cls=Command)
@click.argument("scale")
@out_option("output folder  [default: reproduce-SCALE]")
@table_options("print the plan, or the outcome, as JSON", "print the plan, or the outcome, as CSV")
@option("--format", "form", default="text", hidden=True)  # before --json
@plan_option("check and print the cells, run nothing", "plan_only")
@option("--cell", type=int, help="run only this cell of the plan (for array jobs)")
@option("--only", metavar="PATTERN", help="run only matching cells: train, *lidas*, score/*")
@option("--seeds", type=int, default=3, show_default=True, help="runs per architecture")
@option("--jobs", "-j", type=int, help="parallel processes  [default: 2; 360m and 1.7b: 1]")
@device_option("cpu, cuda, cuda:1  [default: a GPU if there is one]")
@option(
    "--data-dir",
    group="tasks",
    default="benchmarks",
    show_default=True,
    help="folder of local benchmark files",
)
@option("--mfu", type=float, default=0.4, show_default=True, help="assumed share of the GPU's peak")
@option("--peak", type=float, default=989e12, help="peak of a GPU in FLOPs/s  [default: 989e12]")
@option("--fast", is_flag=True, help="laptop: two models, a few steps, to try it out")
@click.pass_context
def command(
    ctx: click.Context,
    scale: str,
    out: str | None,
    plan_only: bool,
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
    as_json: bool,
    as_csv: bool,
) -> None:
    """Reproduce the paper at a scale: train, score, study, compare, test its claims.

    SCALE is laptop (overnight on two cores), 360m or 1.7b (a cluster). A stopped reproduction
    resumes when it is called again; finished cells are not repeated.

    \b
    Examples:
      growloop reproduce laptop --plan
      growloop reproduce laptop
      growloop reproduce laptop --jobs 8 --device cuda
      growloop reproduce 360m --plan --mfu 0.35
      growloop reproduce 360m --cell 3
    """
    one_of("format", form, FORMATS)
    as_json = as_json or form == "json"
    if only is not None and cell is not None:
        raise InputError("give --cell or --only, not both")
    for name, value in (("mfu", mfu), ("peak", peak)):
        if not value > 0:
            raise InputError(f"--{name} must be more than 0, not {value:g}")
    require_extra()
    from ..studies.reproduce.plan import select_cells
    from ..studies.reproduce.run import Reproduction
    from ..studies.reproduce.settings import ReproductionSettings
    from ..tasks.evaluate import best_device, check_device, quiet

    quiet()
    line = shlex.join(["growloop", *(ctx.obj or [])])
    folder = out or f"reproduce-{scale}"
    device = device or best_device()
    reproduction = Reproduction(
        ReproductionSettings(scale, folder, seeds, fast, device, data_dir, line)
    )
    cells = select_cells(reproduction.cells, only)
    check_device(device)
    if plan_only:
        from .plan import print_plan

        reproduction.check(cells)
        again = _run_command(ctx.obj or [])
        print_plan(reproduction, cells, mfu, peak, as_json, as_csv, again)
        return
    if cell is not None and not 0 <= cell < len(reproduction.cells):
        raise InputError(f"--cell is a number from 0 to {len(reproduction.cells) - 1}, not {cell}")
    try:
        if cell is None:
            default_jobs = 1 if reproduction.scale.distributed else min(2, os.cpu_count() or 1)
            with Board(_durations(reproduction, cells)) as board:
                reproduction.run(cells, default_jobs if jobs is None else jobs, board)
        else:
            with Board(_durations(reproduction, [reproduction.cells[cell]])) as board:
                reproduction.cell(reproduction.cells[cell], board)
    except KeyboardInterrupt:
        click.echo(f"stopped: {line} resumes from here", err=True)
        sys.exit(130)
    _print_outcome(reproduction, as_json, as_csv)


def _durations(reproduction: Reproduction, cells: Sequence[PlanCell]) -> dict[str, float]:
    """Cell id -> estimated seconds, for the progress display."""
    return {cell.id: reproduction.estimate(cell).hours * 3600 or 1.0 for cell in cells}


def _run_command(arguments: Sequence[str]) -> str:
    """Return the command line without the options that only concern the plan."""
    rest = list(arguments)
    flags = ("--plan", "--json", "--csv")
    for name in (*flags, "--only", "--format", "--mfu", "--peak"):
        while name in rest:
            place = rest.index(name)
            del rest[place : place + (1 if name in flags else 2)]
    return shlex.join(["growloop", *rest])


def _print_outcome(reproduction: Reproduction, as_json: bool, as_csv: bool) -> None:
    measured = [f for f in reproduction.findings if f.kind == "measured"]
    if as_json:
        content: dict[str, Any] = {
            "page": None if reproduction.page is None else str(reproduction.page),
            "claims": {f.claim.id: f.verdict for f in measured},
        }
        click.echo(json.dumps(content, indent=2))
        return
    if as_csv:
        print_csv([{"claim": f.claim.id, "verdict": f.verdict, "scale": f.scale} for f in measured])
        return
    tested = [f for f in measured if f.verdict != "not run at this scale"]
    for finding in tested:
        paragraph(f"{finding.verdict:12}  {finding.claim.statement}", hanging=14)
    if measured:
        click.echo(f"{len(measured) - len(tested)} claims were not tested")
    if reproduction.page is not None:
        click.echo(f"\nThe page: {reproduction.page.resolve().as_uri()}")
