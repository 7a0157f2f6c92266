"""``growloop eval``."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError
from ..core.remote_code import trusting
from ..tasks.forwarded import forwarded, from_command_line
from .evaluation_outputs import Outputs
from .options import parse_params, trust_option, whole_numbers
from .schedules import schedules_options

if TYPE_CHECKING:
    from ..tasks.requests import EvaluationRequest, ModelSource, ScoringOptions, TaskSelection

LOOPS = ("schedule", "repeat", "times")  # options that loop the model


def _forwarded(ctx: click.Context) -> dict[str, Any]:
    """Return lm-eval options among the arguments that are not this command's own."""
    own = [name for param in ctx.command.params for name in param.opts if name.startswith("--")]
    return from_command_line(ctx.args, own)


def _batch_size(text: str) -> int | str:
    if text.split(":")[0] == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"batch size must be a whole number above 0 or auto, not '{text}'")
    return int(text)


@click.command(
    "eval",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.option(
    "--model", "-m", required=True, help="hub id, local folder, GGUF file or package:NAME"
)
@click.option(
    "--tasks",
    "-t",
    default="reasoning_primitives",
    show_default=True,
    help="names with commas: ours, groups, or any task of lm-eval",
)
@click.option("--suite", help="score all benchmarks of a suite instead, for one table row: paper")
@click.option("--data-dir", help="local data sets of --suite (see docs/benchmarks.md)")
@click.option("--holdout", help="text or token shards whose likelihood --suite measures")
@click.option(
    "--param",
    "-p",
    multiple=True,
    metavar="NAME=VALUE",
    help="parameter for all our tasks that have it, e.g. depth=2",
)
@click.option(
    "--shots",
    "-k",
    "--num_fewshot",  # lm-eval's name
    "shots",
    help="examples before each question, or several such numbers: 0,1,2,4  [default: the task's]",
)
@click.option("--fixed-shots", is_flag=True, help="the same examples before every question")
@click.option("--limit", "-l", type=int, help="score only so many questions a task")
@click.option("--items", "-n", type=int, default=1000, show_default=True, help="test items a task")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="which test items and examples are drawn"
)
@click.option("--device", help="cpu, cuda, cuda:1, mps  [default: a GPU if there is one]")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16, float16")
@click.option("--batch-size", "-b", default="1", show_default=True, help="of --backend hf; or auto")
@schedules_options
@click.option(
    "--backend",
    default="growloop",
    show_default=True,
    help="growloop (what requests have in common runs once) or hf (lm-eval's own)",
)
@click.option(
    "--pack", type=int, help="tokens run at once by growloop  [default: what suits the device]"
)
@click.option(
    "--out",
    "-o",
    default="results",
    show_default=True,
    help="folder for lm-eval's JSON and the samples",
)
@trust_option
@click.option(
    "--trust-task-code", is_flag=True, help="run the code that task files given by path name"
)
@click.option("--leaderboard", metavar="FOLDER", help="add the results to the records there")
@click.option("--name", help="of the model in records  [default: of its run, or its path]")
@click.option("--json", "as_json", is_flag=True, help="print the table as JSON")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Score a language model on tasks.

    Options of lm-eval can be given too, e.g. --apply_chat_template, --system_instruction TEXT,
    --revision, --use_cache FILE or --model_args attn_implementation=eager: docs/evaluation.md
    lists them.

    \b
    Examples:
      growloop eval --model HuggingFaceTB/SmolLM2-135M --limit 100
      growloop eval --model ./checkpoint --tasks variable_assignment_code_d0,lambada_openai
      growloop eval --model ./checkpoint --tasks variable_assignment:style=code:depth=5
      growloop eval --model ./checkpoint --repeat 6:10 --times 0,1,2,4
      growloop eval --model ./checkpoint --shots 0,1,2,4,8,16,32
      growloop eval --model ./checkpoint --suite paper --data-dir benchmarks
      growloop eval --model ./checkpoint --repeat 6:10 --leaderboard records
    """
    from ..tasks.evaluate import require_extra
    from ..tasks.results import check_out

    outputs = Outputs(
        options["out"],
        options["leaderboard"],
        options["name"],
        options["as_json"],
        shlex.join(["growloop", *(ctx.obj or [])]),
    )
    check_out(outputs.folder)
    given = _forwarded(ctx)
    if forwarded(given).model.get("trust_remote_code"):  # refused before anything slow
        ctx.with_resource(trusting(True))  # as lm-eval calls it
    require_extra()
    source = _model_source(options)
    curve = None if options["shots"] is None else whole_numbers(options["shots"], "--shots")
    scoring = _scoring(options, given)
    if options["suite"] is not None:
        _score_suite(ctx, options, source, scoring, outputs)
        return
    if options["data_dir"] is not None or options["holdout"] is not None:
        raise InputError("--data-dir and --holdout are about --suite: give it too")
    _score_tasks(source, _task_selection(options, curve), scoring, outputs)


def _model_source(options: dict[str, Any]) -> ModelSource:
    """Read the model and its loops: one schedule by ``prepare``, several by ``schedules``."""
    from ..tasks.requests import ModelSource
    from .schedules import looping, repeats

    schedule, repeat, times = (options[name] for name in LOOPS)
    counts = None if times is None else whole_numbers(times, "--times")
    if counts is not None and len(counts) > 1:
        return ModelSource(options["model"], schedules=repeats(schedule, repeat, counts))
    return ModelSource(options["model"], looping(schedule, repeat, counts[0] if counts else None))


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

    return TaskSelection(
        [name.strip() for name in options["tasks"].split(",") if name.strip()],
        params=parse_params(options["param"]),
        shots=curve[0] if curve is not None and len(curve) == 1 else curve,
        fixed_shots=options["fixed_shots"],
        limit=options["limit"],
        count=options["items"],
        seed=options["seed"],
        trust_task_code=options["trust_task_code"],
    )


def _score_suite(
    ctx: click.Context,
    options: dict[str, Any],
    source: ModelSource,
    scoring: ScoringOptions,
    outputs: Outputs,
) -> None:
    from ..tasks.benchmarks import SuiteRequest
    from .suite import FIXED_BY_SUITE, refuse_given, run

    outputs.check()
    if source.schedules is not None:
        raise InputError("--suite scores one schedule at a time: give one number of --times")
    refuse_given(ctx, FIXED_BY_SUITE)
    request = SuiteRequest(
        source,
        options["suite"],
        data_dir=options["data_dir"],
        holdout=options["holdout"],
        limit=options["limit"],
        out=outputs.folder,
        variant={name: options[name] for name in LOOPS if options[name] is not None},
        scoring=scoring,
    )
    run(request, outputs)


def _score_tasks(
    source: ModelSource, tasks: TaskSelection, scoring: ScoringOptions, outputs: Outputs
) -> None:
    """Score, write all results, and only then print."""
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
            return
        recorder.note(results)
        paths = save(results, source.name, outputs.folder, outputs.command)
        added = 0
        if store is not None:
            file = next(path.name for path in paths if path.name.startswith("results"))
            added = store.add(records(results, file))
        written.append(Written(results, paths, added))
    _print(request, written, outputs)


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


def _print(request: EvaluationRequest, written: list[Written], outputs: Outputs) -> None:
    from ..tasks.results import rows
    from .evaluation_tables import print_curve, print_table

    tables: list[dict[str, Any]] = []
    several = request.source.schedules is not None
    for one in written:
        table = rows(one.results)
        schedule = one.results["growloop"].get("schedule")
        tables += [asdict(row) | ({"schedule": schedule} if several else {}) for row in table]
        if not outputs.as_json:
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
    if outputs.as_json:
        click.echo(json.dumps(tables, indent=2))
