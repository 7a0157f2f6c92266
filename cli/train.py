"""Command ``growloop train``."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import click

from ..tasks.evaluate import check_device, require_extra
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

    Called again, it goes on where it was stopped or killed, to the same weights bit for bit.

    \b
    Examples:
      growloop train lidas.yaml --plan
      growloop train lidas.yaml --set optimizer.lr=1e-3 --out runs/lidas
      accelerate launch --num_processes 2 -m growloop.cli train lidas.yaml
    """
    require_extra("train", "training")
    from ..core.errors import InputError, whole
    from ..models.training import runfile

    if as_csv and not planned:
        raise InputError("--csv prints the stages of a plan: give --plan too")
    if until is not None:
        whole("--until", until, 1)
    if device is not None:
        check_device(device)
    if dtype is not None:
        overrides = (*overrides, f"precision={dtype}")
    run = runfile.load(run_file, overrides)
    folder = Path(out) if out else Path("runs") / run.name
    say = functools.partial(click.echo, err=True)
    if run.model.lora is not None:
        require_extra("lora", "a run with adapters")
    _check_tasks(run, trust_task_code)
    if planned:
        _print_plan(run, folder, force, as_json, as_csv)
        return
    from transformers.utils import logging

    from ..models.training.engine import Engine
    from .progress import Progress

    logging.disable_progress_bar()
    accuracy = functools.partial(_accuracy, trust_task_code, device)
    engine = Engine(run, folder, say, force, accuracy, device=device)
    main = engine.accelerator.is_main_process
    with Progress(run.steps, done=engine.step, show=main) as progress:
        outcome = engine.train(until, progress)
    if as_json:
        content = {
            "step": outcome.step,
            "finished": outcome.finished,
            "folder": str(outcome.folder),
        }
        click.echo(json.dumps(content))
    elif outcome.finished:
        click.echo(str(outcome.folder))
    else:
        click.echo(f"stopped after step {outcome.step}: {outcome.folder}; call again to go on")


def _print_plan(run: Any, folder: Path, force: bool, as_json: bool, as_csv: bool) -> None:
    """Check and print a plan; of shards that are not there yet, before that is refused."""
    from ..models.training.checks import check
    from ..models.training.data.shards import NoShardsError
    from ..models.training.plan import plan

    lacking: NoShardsError | None = None
    try:
        check(run, folder, functools.partial(click.echo, err=True), force)
    except NoShardsError as error:
        lacking = error
    found = plan(run)
    if as_csv:
        print_csv(found["stages"])
    else:
        click.echo(json.dumps(found, indent=2) if as_json else _plan_text(found))
    if lacking is not None:
        raise lacking


def _accuracy(
    trust_task_code: bool, device: str | None, folder: Path, task: Any
) -> dict[str, float]:
    """Score a checkpoint on the tasks of an event: task -> accuracy."""
    from ..tasks.evaluate import evaluate
    from ..tasks.results import rows

    results = evaluate(
        str(folder),
        task.tasks,
        shots=task.shots,
        limit=task.limit,
        trust_task_code=trust_task_code,
        device=device,
    )
    return {} if results is None else {row.task: row.value for row in rows(results)}


def _check_tasks(run: Any, trust_task_code: bool) -> None:
    """Refuse tasks that cannot be scored before the run: it comes to them late."""
    from ..tasks.catalog import ITEMS, SHOTS
    from ..tasks.scoring.planning import Plan, check_sizes, their_tasks

    for event in run.events:
        if (wanted := event.evaluate) is None:
            continue
        require_extra("eval", "a run that evaluates")
        found = Plan({})
        for name in wanted.tasks:
            found.add(name)
        found.check()
        shots = SHOTS if wanted.shots is None else wanted.shots
        check_sizes(list(found.ours.values()), ITEMS, 0, shots)
        if found.theirs:
            their_tasks(found.theirs, {}, trust_task_code)


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
