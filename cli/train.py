"""Command ``growloop train``."""

from __future__ import annotations

import json
from typing import Any

import click

from ..core.errors import InputError
from ..tasks.evaluate import require_extra
from .command import Command
from .options import (
    device_option,
    force_option,
    option,
    out_option,
    plan_option,
    table_options,
    training_dtype_option,
    trust_option,
)
from .tables import print_csv


@click.command("train", cls=Command)
@click.argument("run_file", metavar="RUN.yaml")
@training_dtype_option(None, "[default: as the run file says]")
@device_option()
@trust_option
@option(
    "--trust-task-code",
    is_flag=True,
    group="tasks",
    help="allow code in the task files of evaluate events",
)
@option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    group="training",
    help="change a field of the run file",
)
@option("--until", type=int, group="training", help="stop at this step; a later call resumes")
@plan_option("check all, print stages, tokens, FLOPs and memory", "planned", aliases=("--dry-run",))
@out_option("folder of the run  [default: runs/NAME]")
@force_option("resume although the run file has changed", aliases=("--force-run-file",))
@table_options("print the plan or the outcome as JSON", "with --plan: print its stages as CSV")
def command(
    run_file: str,
    out: str | None,
    overrides: tuple[str, ...],
    until: int | None,
    planned: bool,
    force: bool,
    dtype: str | None,
    device: str | None,
    trust_task_code: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Train a model as a run file says: standard, looped, growing, retrofitted.

    Called again, a stopped or killed run resumes and ends with the same weights, bit for bit.

    \b
    Examples:
      growloop train lidas.yaml --plan
      growloop train lidas.yaml --set optimizer.lr=1e-3 --out runs/lidas
      accelerate launch --num_processes 2 -m growloop.cli train lidas.yaml
    """
    from ..api import training

    if as_csv and not planned:
        raise InputError("--csv prints the stages of a plan: give --plan too")
    if planned:
        plan = _checked_plan(run_file, overrides, dtype, out, force, trust_task_code)
        _print_plan(*plan, as_json, as_csv)
        return
    result = training.train(
        run_file,
        out,
        overrides=overrides,
        until=until,
        dtype=dtype,
        device=device,
        force=force,
        trust_task_code=trust_task_code,
        say=_say,
    )
    if as_json:
        content = {name: result.to_dict()[name] for name in ("step", "finished", "folder")}
        click.echo(json.dumps(content))
    elif result.finished:
        click.echo(str(result.folder))
    else:
        click.echo(f"stopped after step {result.step}: {result.folder}; call again to go on")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _checked_plan(
    run_file: str,
    overrides: tuple[str, ...],
    dtype: str | None,
    out: str | None,
    force: bool,
    trust_task_code: bool,
) -> tuple[dict[str, Any], InputError | None]:
    """Check a run and plan it; return also what refuses shards that are not there yet."""
    require_extra("train", "training")
    from ..api.training import check_tasks, read_run, run_folder
    from ..models.training.checks import check
    from ..models.training.data.shards import NoShardsError
    from ..models.training.plan import plan

    run = read_run(run_file, overrides, dtype)
    check_tasks(run, trust_task_code)
    lacking: NoShardsError | None = None
    try:
        check(run, run_folder(run, out), _say, force)
    except NoShardsError as error:
        lacking = error
    return plan(run), lacking


def _print_plan(
    found: dict[str, Any], lacking: InputError | None, as_json: bool, as_csv: bool
) -> None:
    """Print a plan, then refuse what it lacks."""
    if as_csv:
        print_csv(found["stages"])
    else:
        click.echo(json.dumps(found, indent=2) if as_json else _plan_text(found))
    if lacking is not None:
        raise lacking


def _plan_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['name']}: {facts['steps']:,} steps, {facts['tokens']:,} tokens"]
    for stage in facts["stages"]:
        lines.append(
            f"  steps {stage['first']:>9,} - {stage['last']:>9,}: schedule {stage['schedule']}, "
            f"{stage['unique_parameters']:,} parameters, {stage['flops']:.3g} FLOPs"
        )
    lines.append(f"training FLOPs: {facts['flops']:.4g} ({facts['share']:.3f} of full depth)")
    lines.append(f"memory: about {facts['memory_bytes'] / 2**30:.1f} GiB a process")
    lines.append(f"time here: about {facts['seconds'] / 3600:.1f} h at 40 % of the matrix peak")
    return "\n".join(lines)
