"""Command ``growloop tasks``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ..core.errors import InputError, about, unknown
from ..tasks.benchmarks import COLUMNS
from ..tasks.catalog import GROUPS, PATH, SHOTS, check_params, entries, resolve
from .command import Group
from .options import (
    option,
    param_option,
    parse_params,
    seed_option,
    shots_option,
    table_options,
)
from .tables import Column, number, paragraph, print_csv, value
from .tables import show as table


@click.group("tasks", cls=Group, invoke_without_command=True)
@option("--path", is_flag=True, help="print the folder for lm_eval --include_path")
@table_options("print the list as JSON", "print the list as CSV")
@click.pass_context
def command(ctx: click.Context, path: bool, as_json: bool, as_csv: bool) -> None:
    """List the evaluation tasks, or show one of them.

    \b
    Examples:
      growloop tasks
      growloop tasks show variable_assignment_code_d1
      lm_eval --include_path "$(growloop tasks --path)" --tasks reasoning_primitives ...
    """
    if ctx.invoked_subcommand is not None:
        return
    if path:
        click.echo(str(PATH))
        return
    tasks = entries()
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in tasks], indent=2))
        return
    if as_csv:
        print_csv([asdict(entry) for entry in tasks])
        return
    columns = [
        Column("task"),
        value("chance"),
        number("capacity", fold=2),
        number("v", fold=1),
        number("fingerprint", fold=3),
        Column("what it asks"),
        *([Column("of")] if any(entry.origin != "growloop" for entry in tasks) else []),
    ]
    rows = [
        [
            entry.name,
            f"{entry.chance:.3f}",
            about(entry.capacity),
            str(entry.version),
            entry.fingerprint[:12],
            entry.summary,
            *([entry.origin] if len(columns) > 6 else []),
        ]
        for entry in tasks
    ]
    table(columns, rows)
    click.echo("\nGroups (plain mean of their tasks):")
    for name, members in GROUPS.items():
        paragraph(f"{name}: {', '.join(members)}", 2, 2)
    click.echo("\nColumns of the paper's tables (growloop eval --suite paper):")
    for column in COLUMNS:
        if any(member.dataset for member in column.members):
            paragraph(f"{column.group}: {', '.join(m.task for m in column.members)}", 2, 2)
    click.echo()
    for text in (
        "Fingerprint: SHA-256 of the first 10,000 test items (seed 0), here its beginning.",
        "Capacity: different items of the test split. Parameters follow a name after colons, e.g. "
        "variable_assignment:style=code:depth=5.",
    ):
        paragraph(text)


@command.command("show")
@click.argument("name")
@shots_option("examples before the question", type=int, default=SHOTS, show_default=True)
@option("--index", "-i", type=int, default=0, show_default=True, help="index of the test item")
@seed_option("seed of the items")
@param_option("parameter of the task")
def show(name: str, shots: int, index: int, seed: int, param: tuple[str, ...]) -> None:
    """Print one question with examples from its few-shot split, and its options.

    \b
    Example:
      growloop tasks show variable_assignment_code_d1 --shots 2
    """
    from ..primitives import STANDARD, TASKS, Source

    params = parse_params(param)
    check_params(params)
    if name.split(":")[0] in GROUPS:
        raise InputError(f"{name} is a group: show one of {', '.join(GROUPS[name.split(':')[0]])}")
    task = resolve(name, params)
    if task is None:
        raise unknown("task", name, [*STANDARD, *TASKS])
    if not 0 <= shots <= 10_000:
        raise InputError(f"shots must be from 0 to 10000, not {shots}")
    examples = Source(task.uncontrolled, "fewshot", seed).items(0, shots)
    [item] = Source(task, "test", seed).items(index, index + 1)
    for example in examples:
        click.echo(f"{example.prompt}{task.delimiter}{example.target}\n")
    click.echo(item.prompt)
    click.echo(f"\n--- options: {', '.join(item.choices)}", err=True)
    click.echo(f"--- answer: {item.target}   chance: {task.chance:.3f}   {item.id}", err=True)
