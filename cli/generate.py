"""Command ``growloop generate``: a subcommand per primitive, with its parameters as options."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any

import click

from ..core.errors import InputError, unknown, whole
from ..core.plugins import Origin
from ..primitives import FORMATS, SPLITS, TASKS, Report, Source, Template, export, make_task
from .command import Command, Option
from .options import (
    force_option,
    items_option,
    option,
    out_option,
    param_option,
    parse_params,
    seed_option,
)

LONG = 200_000  # indices that are worth a progress bar


def _help_texts(task: type) -> dict[str, str]:
    """Read the help text of each parameter from the docstring of a task."""
    section = re.search(r"Args:\n(.*?)(?:\n\s*\n|\Z)", task.__doc__ or "", re.DOTALL)
    texts: dict[str, str] = {}
    for match in re.finditer(
        r"^ {8}([\w, ]+): (.+(?:\n {12}.+)*)", section[1] if section else "", re.MULTILINE
    ):
        for name in match[1].split(", "):
            texts[name] = re.sub(r"\s+", " ", match[2]).replace("``", "")
    return texts


def _options(task: type) -> list[click.Parameter]:
    texts = _help_texts(task)
    options: list[click.Parameter] = []
    for parameter in dataclasses.fields(task):
        if not parameter.init:
            continue
        default = parameter.default
        shown = "automatic" if default is None else str(default).lower()
        options.append(
            Option(
                [f"--{parameter.name.replace('_', '-')}", f"param_{parameter.name}"],
                group="tasks",
                metavar="N" if "int" in str(parameter.type) else "VALUE",
                help=texts.get(parameter.name, "counterfactual control") + f"  [default: {shown}]",
            )
        )
    return options


SHARED = (
    param_option("any parameter"),
    option("--template", group="tasks", help="a Jinja2 file to use in place of the task's prompt"),
    items_option("items a split", aliases=("--count",), default=1000, show_default=True),
    seed_option("0 to 2**63 - 1"),
    option(
        "--split",
        default="test",
        show_default=True,
        group="tasks",
        help=f"{', '.join(SPLITS)}; with --format datasets several, with commas, or all",
    ),
    out_option("file or folder; - is standard output", required=True),
    option(
        "--format",
        "-f",
        group="output",
        help=f"{', '.join(FORMATS)}  [default: by the name of --out, else jsonl]",
    ),
    force_option("replace what is there"),
    option("--quiet", "-q", is_flag=True, group="output", help="say nothing when all went well"),
    option(
        "--jobs",
        "-j",
        aliases=("--workers",),
        type=int,
        default=1,
        show_default=True,
        help="parallel processes",
    ),
)


def _splits(text: str) -> list[str]:
    names = list(SPLITS) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SPLITS:
            raise unknown("split", name, [*SPLITS, "all"])
    return list(dict.fromkeys(names))


def _format(format_name: str | None, out: str) -> str:
    if format_name is not None:
        return format_name
    return "parquet" if out.endswith(".parquet") else "jsonl"


def _generate(name: str, options: dict[str, Any]) -> None:
    params: dict[str, object] = dict(parse_params(options["param"]))
    for key, value in options.items():
        if key.startswith("param_") and value is not None:
            key = key.removeprefix("param_")
            if params.setdefault(key, value) != value:
                raise InputError(f"parameter {key} is given twice: {params[key]} and {value}")
    task = make_task(name, params)
    given = options["template"]
    template = None if given is None else Template.from_file(given)
    splits = _splits(options["split"])
    sources = [Source(task, split, options["seed"], template) for split in splits]
    count = whole("items", options["items"], 1)
    shown = count * len(sources) >= LONG and sys.stderr.isatty() and not options["quiet"]
    with click.progressbar(
        length=count * len(sources), label=name, file=sys.stderr, hidden=not shown
    ) as bar:
        done = 0

        def progress(index: int) -> None:
            nonlocal done
            bar.update(index - done if index >= done else index)
            done = index

        reports = export(
            sources,
            count,
            options["out"],
            _format(options["format"], options["out"]),
            force=options["force"],
            workers=whole("jobs", options["jobs"], 1),
            progress=progress,
        )
    if not options["quiet"]:
        _say(options["out"], reports)


def _say(out: str, reports: list[Report]) -> None:
    for report in reports:
        text = f"{report.count:,} {report.split} items -> {out}"
        text += f"   sha256 {report.fingerprint[:16]}"
        if report.repeats:
            text += f"   ({report.repeats:,} repeated draws left out)"
        click.echo(text, err=True)


def _subcommand(name: str, task: Any, origin: Origin | None) -> click.Command:
    def run(**options: Any) -> None:
        _generate(name, options)

    for add in reversed(SHARED):
        add(run)
    shared: list[click.Parameter] = run.__dict__["__click_params__"][::-1]
    given = next((f for f in dataclasses.fields(task) if f.init), None)
    flag = "" if given is None else f"--{given.name.replace('_', '-')} {given.default} "
    about = task.summary.capitalize() + ("" if origin is None else f" (of {origin})") + "."
    return Command(
        name,
        callback=run,
        params=[*_options(task), *shared],
        short_help=about,
        help=f"{about}\n\n\b\nExample:\n"
        f"  growloop generate {name} {flag}"
        f"--items 1000 --split train --out {name}.jsonl",
    )


class Primitives(click.Group):
    """Group with a command for each primitive, made when it is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all primitives; those of broken plug-ins are left out."""
        own = sorted(TASKS.own())
        return [*own, *(name for name, _ in TASKS.working(TASKS.origins()))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of a primitive."""
        if cmd_name not in TASKS:
            return None
        return _subcommand(cmd_name, TASKS[cmd_name], TASKS.origin(cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in TASKS:
            raise TASKS.unknown(args[0])
        return super().resolve_command(ctx, args)


command = Primitives(
    "generate",
    help="""Write a reasoning-primitive data set.

    Item i of a split depends on the task, its version, its parameters, the split, the seed and
    i alone: the same command gives the same bytes, always and everywhere.

    \b
    Examples:
      growloop generate variable_assignment --style code --depth 2 --out va.jsonl
      growloop generate copying --words real --items 100000 --split train --out copy.parquet
      growloop generate p_hop --split all --format datasets --out p_hop
    """,
)
