"""``growloop eval``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError, whole
from ..core.remote_code import trusting
from ..tasks.catalog import ITEMS
from ..tasks.forwarded import forwarded, from_command_line
from .command import Command, flags_of
from .evaluation_outputs import Outputs
from .options import (
    device_option,
    dtype_option,
    items_option,
    leaderboard_option,
    model_option,
    option,
    out_option,
    param_option,
    parse_params,
    picture_option,
    seed_option,
    shots_option,
    table_options,
    tasks_option,
    trust_option,
    whole_numbers,
)
from .schedules import schedules_options
from .tables import print_csv

if TYPE_CHECKING:
    from ..tasks.requests import EvaluationRequest, ModelSource, ScoringOptions, TaskSelection

LOOPS = {"schedule": "schedule", "block": "repeat", "repeats": "times"}
"""Option that loops the model -> its name in stored results of a suite."""


def _forwarded(ctx: click.Context) -> dict[str, Any]:
    """Return lm-eval options among the arguments that are not this command's own."""
    return from_command_line(ctx.args, [f for f in flags_of(ctx.command.params) if f[:2] == "--"])


def _batch_size(text: str) -> int | str:
    if text.split(":")[0] == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"batch size must be a whole number above 0 or auto, not '{text}'")
    return int(text)


@click.command(
    "eval",
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@model_option("hub id, local folder, GGUF file or package:NAME", required=True)
@dtype_option()
@device_option()
@schedules_options
@trust_option
@tasks_option(
    "names with commas: ours, groups, or any task of lm-eval",
    default="reasoning_primitives",
    show_default=True,
)
@items_option("questions a task  [default: 1000 of ours, all of lm-eval's]")
@option("--limit", "-l", type=int, hidden=True)  # before --items: also of the items of our tasks
@shots_option(
    "examples before each question, or several such numbers: 0,1,2,4  [default: the task's]",
    aliases=("--num_fewshot",),  # lm-eval's name
)
@option(
    "--fixed-shots", is_flag=True, group="tasks", help="the same examples before every question"
)
@seed_option("which test items and examples are drawn")
@param_option("parameter for all our tasks that have it, e.g. depth=2")
@option(
    "--trust-task-code",
    is_flag=True,
    group="tasks",
    help="run the code that task files given by path name",
)
@option(
    "--suite",
    group="tasks",
    help="score all benchmarks of a suite instead, for one table row: paper",
)
@option("--data-dir", group="tasks", help="local data sets of --suite (see docs/benchmarks.md)")
@option("--holdout", group="tasks", help="text or token shards whose likelihood --suite measures")
@out_option(
    "folder for lm-eval's JSON and the samples",
    aliases=("--output_path",),  # lm-eval's name
    default="results",
    show_default=True,
)
@leaderboard_option("add the results to the records there")
@option(
    "--name", group="output", help="of the model in records  [default: of its run, or its path]"
)
@picture_option("draw the curve over several --shots or --repeats")
@table_options()
@option("--batch-size", "-b", default="1", show_default=True, help="of --backend hf; or auto")
@option(
    "--backend",
    default="growloop",
    show_default=True,
    help="growloop (what requests have in common runs once) or hf (lm-eval's own)",
)
@option("--pack", type=int, help="tokens run at once by growloop  [default: what suits the device]")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Score a language model on tasks.

    Options of lm-eval can be given too, e.g. --include_path FOLDER, --log_samples, --output_path,
    --predict_only, --apply_chat_template, --system_instruction TEXT, --revision, --use_cache FILE
    or --model_args attn_implementation=eager: docs/evaluation.md lists them.

    \b
    Examples:
      growloop eval --model HuggingFaceTB/SmolLM2-135M --items 100
      growloop eval --model ./checkpoint --tasks variable_assignment_code_d0,lambada_openai
      growloop eval --model ./checkpoint --tasks variable_assignment:style=code:depth=5
      growloop eval --model ./checkpoint --block 6:10 --repeats 0,1,2,4 --picture repeats.html
      growloop eval --model ./checkpoint --shots 0,1,2,4,8,16,32
      growloop eval --model ./checkpoint --suite paper --data-dir benchmarks
      growloop eval --model ./checkpoint --block 6:10 --leaderboard records
    """
    from ..tasks.evaluate import require_extra
    from ..tasks.results import check_out

    outputs = Outputs(
        options["out"],
        options["leaderboard"],
        options["name"],
        options["as_json"],
        options["as_csv"],
        options["picture"],
        shlex.join(["growloop", *(ctx.obj or [])]),
    )
    check_out(outputs.folder)
    given = _forwarded(ctx)
    if forwarded(given).model.get("trust_remote_code"):  # refused before anything slow
        ctx.with_resource(trusting(True))  # as lm-eval calls it
    require_extra()
    if forwarded(given).harness.get("predict_only"):
        _refuse_metrics(options, outputs)
    source = _model_source(options)
    curve = None if options["shots"] is None else whole_numbers(options["shots"], "--shots")
    scoring = _scoring(options, given)
    if options["suite"] is not None:
        _score_suite(ctx, options, source, scoring, outputs)
        return
    if options["data_dir"] is not None or options["holdout"] is not None:
        raise InputError("--data-dir and --holdout are about --suite: give it too")
    repeats = _repeats(options)
    if outputs.picture is not None and len(curve or ()) < 2 and len(repeats or ()) < 2:
        raise InputError("--picture draws a curve: give several --shots or --repeats, e.g. 0,1,2,4")
    _score_tasks(source, _task_selection(options, curve), scoring, outputs, repeats)


def _refuse_metrics(options: dict[str, Any], outputs: Outputs) -> None:
    """Refuse what shows or stores metrics, where --predict_only computes none."""
    shown = {
        "--leaderboard": outputs.leaderboard, "--picture": outputs.picture,
        "--suite": options["suite"], "--json": outputs.as_json, "--csv": outputs.as_csv,
    }  # fmt: skip
    for flag, value in shown.items():
        if value:
            raise InputError(f"--predict_only computes no metric: leave out {flag}")


def _repeats(options: dict[str, Any]) -> list[int] | None:
    """Return the numbers of repeats, ascending; None without --repeats."""
    text = options["repeats"]
    return None if text is None else whole_numbers(text, "--repeats")


def _model_source(options: dict[str, Any]) -> ModelSource:
    """Read the model and its loops: one schedule by ``prepare``, several by ``schedules``."""
    from ..tasks.requests import ModelSource
    from .schedules import looping, repeated_blocks

    schedule, block, counts = options["schedule"], options["block"], _repeats(options)
    if counts is not None and len(counts) > 1:
        return ModelSource(options["model"], schedules=repeated_blocks(schedule, block, counts))
    return ModelSource(options["model"], looping(schedule, block, counts[0] if counts else None))


def _scoring(options: dict[str, Any], given: dict[str, Any]) -> ScoringOptions:
    from ..tasks.requests import ScoringOptions

    return ScoringOptions(
        device=options["device"],
        dtype=options["dtype"],
        batch_size=_batch_size(options["batch_size"]),
        backend=options["backend"],
        pack=options["pack"],
        forwarded=given,
    )


def _task_selection(options: dict[str, Any], curve: list[int] | None) -> TaskSelection:
    from ..tasks.requests import TaskSelection

    names = [name.strip() for name in options["tasks"].split(",") if name.strip()]
    params = parse_params(options["param"])
    return TaskSelection(
        names,
        params=params,
        shots=curve[0] if curve is not None and len(curve) == 1 else curve,
        fixed_shots=options["fixed_shots"],
        limit=limit_of(options["items"], names, params)
        if options["limit"] is None
        else options["limit"],
        count=ITEMS if options["items"] is None else options["items"],
        seed=options["seed"],
        trust_task_code=options["trust_task_code"],
    )


def limit_of(items: int | None, names: Sequence[str], params: Mapping[str, object]) -> int | None:
    """Return the number of questions to score: --items, if there are tasks of lm-eval."""
    if items is None:
        return None
    from ..tasks.scoring.planning import Plan

    plan = Plan(params)
    for name in names:
        plan.add(name)
    return items if plan.theirs else None


def _score_suite(
    ctx: click.Context,
    options: dict[str, Any],
    source: ModelSource,
    scoring: ScoringOptions,
    outputs: Outputs,
) -> None:
    from ..tasks.benchmarks import SuiteRequest
    from .suite import FIXED_BY_SUITE, refuse_given, run

    if outputs.picture is not None:
        raise InputError("--suite prints one row: leave out --picture")
    outputs.check()
    if options["items"] is not None:
        whole("items", options["items"], 1, 10**9)
    if source.schedules is not None:
        raise InputError("--suite scores one schedule at a time: give one number of --repeats")
    refuse_given(ctx, FIXED_BY_SUITE, "is fixed by --suite: leave it out")
    request = SuiteRequest(
        source,
        options["suite"],
        data_dir=options["data_dir"],
        holdout=options["holdout"],
        limit=options["items"] if options["limit"] is None else options["limit"],
        out=outputs.folder,
        variant={LOOPS[name]: options[name] for name in LOOPS if options[name] is not None},
        scoring=scoring,
    )
    run(request, outputs)


def _score_tasks(
    source: ModelSource,
    tasks: TaskSelection,
    scoring: ScoringOptions,
    outputs: Outputs,
    repeats: Sequence[int] | None = None,
) -> None:
    """Score, write all results, and only then print."""
    request, written = score_and_save(source, tasks, scoring, outputs)
    if written and forwarded(scoring.forwarded).harness.get("predict_only"):
        for path in (path for one in written for path in one.paths):
            click.echo(str(path), err=True)
    elif written:
        several = None if repeats is None or len(repeats) < 2 else repeats
        print_scores(request, written, outputs, several)


def score_and_save(
    source: ModelSource, tasks: TaskSelection, scoring: ScoringOptions, outputs: Outputs
) -> tuple[EvaluationRequest, list[Written]]:
    """Score tasks, and write results and records; no results but on the first process."""
    from ..leaderboard.harness import records
    from ..studies.describe import Recorder
    from ..tasks.evaluate import EvaluationRequest, score
    from ..tasks.results import save

    store = outputs.check()
    recorder = Recorder(source.name, source.prepare, outputs.name)
    request = EvaluationRequest(replace(source, prepare=recorder), tasks, scoring)
    written: list[Written] = []
    for results in score(request):
        if results is None:  # not the first of several processes
            return request, []
        recorder.note(results)
        given = forwarded(scoring.forwarded).harness
        samples = given.get("log_samples", True) or given.get("predict_only", False)
        paths = save(results, source.name, outputs.folder, outputs.command, samples)
        added = 0
        if store is not None:
            file = next(path.name for path in paths if path.name.startswith("results"))
            added = store.add(records(results, file))
        written.append(Written(results, paths, added))
    return request, written


@dataclass(frozen=True)
class Written:
    """Results on disk.

    Args:
        results: lm-eval's results under one schedule.
        paths: files written.
        added: records added to the leaderboard.
    """

    results: dict[str, Any]
    paths: list[Path]
    added: int


def print_scores(
    request: EvaluationRequest,
    written: list[Written],
    outputs: Outputs,
    repeats: Sequence[int] | None = None,
) -> None:
    """Print tables, and draw the picture.

    Args:
        repeats: repeats of each of several schedules.
    """
    from ..tasks.results import rows
    from .evaluation_tables import print_curve, print_table

    tables: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    several = request.source.schedules is not None
    for place, one in enumerate(written):
        table = rows(one.results)
        points += [asdict(row) | {"repeats": repeats[place] if repeats else None} for row in table]
        schedule = one.results["growloop"].get("schedule")
        tables += [asdict(row) | ({"schedule": schedule} if several else {}) for row in table]
        if not (outputs.as_json or outputs.as_csv):
            dtype = one.results["config"]["dtype"].removeprefix("torch.")
            title = f"{request.source.name} ({dtype})"
            if schedule and schedule.strip("0123456789"):  # not a plain stack
                title += f", schedule {schedule}"
            if len(request.tasks.curve) > 1:
                print_curve(title, table, request.tasks.curve)
            else:
                print_table(title, table)
        for path in one.paths:
            click.echo(str(path), err=True)
        outputs.report(one.added)
    if outputs.picture is not None:
        from ..studies.measure.charts import save
        from ..studies.measure.evaluation_chart import evaluation_chart

        chart = evaluation_chart(points, request.source.name)
        click.echo(str(save(chart, outputs.picture)), err=True)
    if outputs.as_json:
        click.echo(json.dumps(tables, indent=2))
    elif outputs.as_csv:
        print_csv(tables)
