"""``growloop eval``."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError
from ..core.remote_code import trusting
from ..tasks.forwarded import forwarded, from_command_line
from .options import parse_params, trust_option, whole_numbers
from .schedules import schedules_options
from .tables import Column, number, show, value

if TYPE_CHECKING:
    from ..tasks.results import Row


def _forwarded(ctx: click.Context) -> dict[str, Any]:
    """Options of lm-eval among the arguments that are none of this command's."""
    own = [name for param in ctx.command.params for name in param.opts if name.startswith("--")]
    return from_command_line(ctx.args, own)


def _batch_size(text: str) -> int | str:
    if text.split(":")[0] == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"batch size must be a whole number above 0 or auto, not '{text}'")
    return int(text)


def _print_table(title: str, rows: list[Row]) -> None:
    columns = [
        Column("task"),
        number("n", fold=2),
        number("shots", fold=1),
        Column("metric"),
        value("value"),
        value("± s.e."),
        number("chance", fold=3),
    ]
    lines = [
        [
            "  " * row.level + row.task,
            "" if row.n is None else f"{row.n:,}",
            "" if row.shots is None else str(row.shots),
            row.metric,
            f"{row.value:.4f}",
            "" if row.stderr is None else f"{row.stderr:.4f}",
            "" if row.chance is None else f"{row.chance:.4f}",
        ]
        for row in rows
    ]
    show(columns, lines, title, lambda place: _group(rows[place]))


def _print_curve(title: str, rows: list[Row], counts: list[int]) -> None:
    """Accuracy by number of examples, a task a line."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    firsts = [points[0] for points in by_task.values()]
    columns = [Column("task"), number("n", fold=1), *(value(str(count)) for count in counts)]
    lines = [
        [
            "  " * first.level + task,
            "" if first.n is None else f"{first.n:,}",
            *(f"{row.value:.4f}" for row in points),
            "" if first.chance is None else f"{first.chance:.4f}",
        ]
        for first, (task, points) in zip(firsts, by_task.items(), strict=True)
    ]
    title = f"{title}: accuracy by examples"
    show([*columns, number("chance", fold=2)], lines, title, lambda place: _group(firsts[place]))


def _group(row: Row) -> dict[str, bool]:
    """Style of a row: bold for the mean of a group."""
    return {"bold": True} if row.level == 0 and row.n is None else {}


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
def command(
    ctx: click.Context,
    model: str,
    tasks: str,
    suite: str | None,
    data_dir: str | None,
    holdout: str | None,
    param: tuple[str, ...],
    shots: str | None,
    fixed_shots: bool,
    limit: int | None,
    items: int,
    seed: int,
    device: str | None,
    dtype: str,
    batch_size: str,
    schedule: str | None,
    repeat: str | None,
    times: str | None,
    backend: str,
    pack: int | None,
    out: str,
    trust_task_code: bool,
    leaderboard: str | None,
    name: str | None,
    as_json: bool,
) -> None:
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
    from ..tasks.evaluate import evaluate_schedules, require_extra
    from ..tasks.results import check_out, rows, save

    check_out(out)
    given = _forwarded(ctx)
    if forwarded(given).model.get("trust_remote_code"):  # refused before anything slow
        ctx.with_resource(trusting(True))  # as lm-eval calls it
    require_extra()
    from ..leaderboard import Store
    from ..leaderboard.harness import records
    from ..studies.describe import Recorder, checked_name
    from .schedules import looping, repeats

    again = None if times is None else whole_numbers(times, "--times")
    many = again is not None and len(again) > 1
    counts = None if shots is None else whole_numbers(shots, "--shots")
    if many:
        assert again is not None
        schedules, prepare = repeats(schedule, repeat, again), None
    else:
        schedules, prepare = None, looping(schedule, repeat, None if again is None else again[0])
    line = shlex.join(["growloop", *(ctx.obj or [])])
    if suite is not None:
        from ..leaderboard import Store
        from ..studies.describe import checked_name
        from .suite import refuse_given, run

        checked_name(name)
        if leaderboard is not None:
            Store(leaderboard).scan()  # refused before the slow part if it is no store
        if many:
            raise InputError("--suite scores one schedule at a time: give one number of --times")

        refuse_given(
            ctx,
            ("tasks", "param", "shots", "fixed_shots", "items", "seed", "trust_task_code"),
        )
        run(
            model,
            suite,
            data_dir=data_dir,
            holdout=holdout,
            limit=limit,
            out=out,
            variant={
                name: value
                for name, value in (("schedule", schedule), ("repeat", repeat), ("times", times))
                if value is not None
            },
            prepare=prepare,
            device=device,
            dtype=dtype,
            batch_size=_batch_size(batch_size),
            backend=backend,
            pack=pack,
            forwarded=given,
            as_json=as_json,
            leaderboard=leaderboard,
            name=name,
            command=line,
        )
        return
    if data_dir is not None or holdout is not None:
        raise InputError("--data-dir and --holdout are about --suite: give it too")
    store = None if leaderboard is None else Store(leaderboard)
    if store is not None:
        store.scan()  # refused before the slow part if it is no store
    recorder = Recorder(model, prepare, checked_name(name))
    found = evaluate_schedules(
        model,
        [name.strip() for name in tasks.split(",") if name.strip()],
        schedules,
        params=parse_params(param),
        shots=counts[0] if counts is not None and len(counts) == 1 else counts,
        fixed_shots=fixed_shots,
        limit=limit,
        count=items,
        seed=seed,
        device=device,
        dtype=dtype,
        batch_size=_batch_size(batch_size),
        backend=backend,
        pack=pack,
        prepare=recorder,
        forwarded=given,
        trust_task_code=trust_task_code,
    )
    kept: list[tuple[list[Path], int]] = []
    for results in found:
        if results is None:  # not the first of several processes
            return
        recorder.note(results)
        paths = save(results, model, out, line)
        added = 0
        if store is not None:
            source = next(path.name for path in paths if path.name.startswith("results"))
            added = store.add(records(results, source))
        kept.append((paths, added))
    tables: list[dict[str, Any]] = []
    for results, (paths, added) in zip(found, kept, strict=True):  # all is on disk by now
        assert results is not None
        table = rows(results)
        now = results["growloop"].get("schedule")
        tables += [asdict(row) | ({"schedule": now} if many else {}) for row in table]
        if not as_json:
            title = f"{model} ({results['config']['dtype'].removeprefix('torch.')})"
            if now and now.strip("0123456789"):  # no plain stack
                title += f", schedule {now}"
            if counts is not None and len(counts) > 1:
                _print_curve(title, table, counts)
            else:
                _print_table(title, table)
        for path in paths:
            click.echo(str(path), err=True)
        if store is not None:
            click.echo(f"{added} records added to {leaderboard}", err=True)
    if as_json:
        click.echo(json.dumps(tables, indent=2))
