"""``growloop eval``."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..core.strict_json import RepeatedNameError, loads
from ..primitives.errors import InputError, shown
from .options import parse_params, whole_numbers
from .schedules import schedules_options

if TYPE_CHECKING:
    from ..tasks.results import Row


def _forwarded(arguments: list[str]) -> dict[str, Any]:
    """``--name value``, ``--name=value`` and ``--flag`` as a dictionary."""
    found: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise InputError(f"unexpected argument '{flag}'")
        name, equals, value = flag[2:].partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "True"
        found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    """A number, true, false, none or JSON where ``text`` is that and nothing else."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    if text[:1] in ("{", "["):
        try:
            return loads(text)
        except RepeatedNameError as error:
            raise InputError(f"{shown(text)}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{shown(text)} is not JSON") from error
    for kind in (int, float):
        with contextlib.suppress(ValueError, OverflowError):
            if str(kind(text)) == text:  # a revision 4.10 stays a text
                return kind(text)
    return text


def _batch_size(text: str) -> int | str:
    if text.split(":")[0] == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"batch size must be a whole number above 0 or auto, not '{text}'")
    return int(text)


def _print_table(title: str, rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    for name in ("n", "shots", "metric", "value", "± s.e.", "chance"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            "  " * row.level + row.task,
            "" if row.n is None else f"{row.n:,}",
            "" if row.shots is None else str(row.shots),
            row.metric,
            f"{row.value:.4f}",
            "" if row.stderr is None else f"{row.stderr:.4f}",
            "" if row.chance is None else f"{row.chance:.4f}",
            style="bold" if row.level == 0 and row.n is None else None,
        )
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


def _print_curve(title: str, rows: list[Row], counts: list[int]) -> None:
    """Accuracy by number of examples, a task a line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title}: accuracy by examples", title_justify="left", box=None)
    table.add_column("task", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for count in counts:
        table.add_column(str(count), justify="right", no_wrap=True)
    table.add_column("chance", justify="right", no_wrap=True)
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    for task, points in by_task.items():
        first = points[0]
        table.add_row(
            "  " * first.level + task,
            "" if first.n is None else f"{first.n:,}",
            *(f"{row.value:.4f}" for row in points),
            "" if first.chance is None else f"{first.chance:.4f}",
            style="bold" if first.level == 0 and first.n is None else None,
        )
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


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
    leaderboard: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Score a language model on tasks.

    Options not listed here go to lm-eval and its Hugging Face model, e.g. --apply_chat_template,
    --revision, --trust_remote_code or --model_args attn_implementation=eager.

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
    require_extra()
    from ..leaderboard import Store
    from ..leaderboard.harness import records
    from ..studies.recording import Recorder, checked_name
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
        from ..studies.recording import checked_name
        from .suite import refuse_given, run

        checked_name(name)
        if leaderboard is not None:
            Store(leaderboard).scan()  # refused before the slow part if it is no store
        if many:
            raise InputError("--suite scores one schedule at a time: give one number of --times")

        refuse_given(ctx, ("tasks", "param", "shots", "fixed_shots", "items", "seed"))
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
            forwarded=_forwarded(ctx.args),
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
        forwarded=_forwarded(ctx.args),
    )
    tables: list[dict[str, Any]] = []
    for results in found:
        if results is None:  # not the first of several processes
            return
        recorder.note(results)
        table = rows(results)
        now = results["growloop"].get("schedule")
        tables += [asdict(row) | ({"schedule": now} if many else {}) for row in table]
        paths = save(results, model, out, line)
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
            source = next(path.name for path in paths if path.name.startswith("results"))
            added = store.add(records(results, source))
            click.echo(f"{added} records added to {leaderboard}", err=True)
    if as_json:
        click.echo(json.dumps(tables, indent=2))
