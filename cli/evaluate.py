"""``growloop eval``."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError, whole
from ..core.remote_code import trusting
from ..core.schedule_notation import read_range
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
from .schedules import check_repeats, schedules_options
from .tables import print_csv

if TYPE_CHECKING:
    from ..api.evaluation_result import EvaluationResult

LOOPS = {"schedule": "schedule", "block": "repeat", "repeats": "times"}
"""Option that loops the model -> its name in stored results of a suite."""
PASSED = (
    "items", "limit", "fixed_shots", "seed", "trust_task_code", "device", "dtype", "backend",
    "pack", "name",
)  # fmt: skip
"""Options that are arguments of ``growloop.evaluate`` by the same name."""


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
    "--name",
    group="output",
    help="name of the model in records  [default: that of its run, or its path]",
)
@picture_option("draw the curve over several --shots or --repeats")
@table_options()
@option(
    "--batch-size", "-b", default="1", show_default=True, help="batch size of --backend hf, or auto"
)
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
    predicts_only = forwarded(given).harness.get("predict_only", False)
    if predicts_only:
        _refuse_metrics(options, outputs)
    check_repeats(options["block"], options["repeats"])
    curve = None if options["shots"] is None else whole_numbers(options["shots"], "--shots")
    repeats = None if options["repeats"] is None else whole_numbers(options["repeats"], "--repeats")
    block = None if options["block"] is None else read_range(options["block"])
    if options["suite"] is not None:
        _score_suite(ctx, options, (block, repeats), given, outputs)
        return
    if options["data_dir"] is not None or options["holdout"] is not None:
        raise InputError("--data-dir and --holdout need --suite")
    if outputs.picture is not None and len(curve or ()) < 2 and len(repeats or ()) < 2:
        raise InputError("--picture draws a curve: give several --shots or --repeats, e.g. 0,1,2,4")
    outputs.check()
    from ..api.evaluation import evaluate

    result = evaluate(
        options["model"],
        options["tasks"],
        shots=curve,
        schedule=options["schedule"],
        repeat=block,
        times=repeats,
        params=parse_params(options["param"]),
        out=outputs.folder,
        leaderboard=outputs.leaderboard,
        command=outputs.command,
        batch_size=_batch_size(options["batch_size"]),
        **{name: options[name] for name in PASSED},
        **given,
    )
    if predicts_only:
        for path in result.files:
            click.echo(str(path), err=True)
    elif result.results:  # on the first of several processes
        print_scores(result, outputs)


def _refuse_metrics(options: dict[str, Any], outputs: Outputs) -> None:
    """Refuse what shows or stores metrics, where --predict_only computes none."""
    shown = {
        "--leaderboard": outputs.leaderboard, "--picture": outputs.picture,
        "--suite": options["suite"], "--json": outputs.as_json, "--csv": outputs.as_csv,
    }  # fmt: skip
    for flag, value in shown.items():
        if value:
            raise InputError(f"--predict_only computes no metric: leave out {flag}")


def _score_suite(
    ctx: click.Context,
    options: dict[str, Any],
    repeated: tuple[tuple[int, int] | None, list[int] | None],
    given: dict[str, Any],
    outputs: Outputs,
) -> None:
    from ..api.evaluation import model_source
    from ..tasks.benchmarks import SuiteRequest
    from ..tasks.evaluation_request import ScoringOptions
    from .suite import FIXED_BY_SUITE, refuse_given, run

    source = model_source(options["model"], None, options["schedule"], *repeated)
    scoring = ScoringOptions(
        device=options["device"],
        dtype=options["dtype"],
        batch_size=_batch_size(options["batch_size"]),
        backend=options["backend"],
        pack=options["pack"],
        forwarded=given,
    )
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


def print_scores(result: EvaluationResult, outputs: Outputs) -> None:
    """Print tables, and draw the picture."""
    from ..tasks.results import rows
    from .evaluation_tables import print_curve, print_table

    for one in result.results if not (outputs.as_json or outputs.as_csv) else ():
        schedule = one["growloop"].get("schedule")
        dtype = one["config"]["dtype"].removeprefix("torch.")
        title = f"{result.model} ({dtype})"
        if schedule and schedule.strip("0123456789"):  # not a plain stack
            title += f", schedule {schedule}"
        if len(result.curve) > 1:
            print_curve(title, rows(one), result.curve)
        else:
            print_table(title, rows(one))
    for path in result.files:
        click.echo(str(path), err=True)
    outputs.report(result.added or 0)
    if outputs.picture is not None:
        from ..studies.measure.charts import save

        click.echo(str(save(result.chart(), outputs.picture)), err=True)
    if outputs.as_json:
        click.echo(json.dumps(result.to_rows(), indent=2))
    elif outputs.as_csv:
        print_csv(result.to_rows())
