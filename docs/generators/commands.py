"""Reference of the command line, from click: a page a command, with its subcommands or studies."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import click
from growloop.cli.command import GROUPS, HEADINGS
from growloop.cli.dataclass_options import options_to_click
from growloop.cli.main import COMMANDS, main
from growloop.studies.catalog import STUDIES, find

FOLDER = "reference/commands"


def pages() -> dict[str, str]:
    """Return path -> Markdown of all pages."""
    texts = {f"{FOLDER}/index.md": _index()}
    context = click.Context(main, info_name="growloop")
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        texts[f"{FOLDER}/{name}.md"] = "\n".join(_described(command, name, context, 1))
    texts[f"{FOLDER}/study.md"] += "\n".join(_studies())
    return texts


def _index() -> str:
    lines = ["# Commands", "", "| command | what it does |", "|---|---|"]
    lines += [
        f"| [`growloop {name}`]({name}.md) | {text} |" for name, (_, text) in COMMANDS.items()
    ]
    more = "Options that several commands share mean the same on each:"
    return "\n".join([*lines, "", f"{more} [command line](../../command-line.md).", ""])


def _described(
    command: click.Command, name: str, parent: click.Context, level: int
) -> Iterator[str]:
    """Yield the lines of a command's section, and of its subcommands' sections."""
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} {context.command_path.removeprefix('growloop ')}\n"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n"
    yield help_text(command.help or "")
    yield from _options(command.get_params(context), context)
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            yield from _described(child, child_name, context, level + 1)


def help_text(text: str) -> str:
    r"""Return a help text as Markdown: paragraphs, and blocks marked ``\b`` as they are.

    >>> help_text("Do it.\n\n\b\nExamples:\n  growloop tasks")
    'Do it.\n\nExamples:\n\n```text\ngrowloop tasks\n```\n'
    """
    parts = []
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            block = textwrap.dedent("\n".join(lines[1:]))
            title, _, rest = block.partition("\n") if ":\n" in block else ("", "", block)
            parts += [title] * bool(title) + [f"```text\n{textwrap.dedent(rest).rstrip()}\n```"]
        else:
            parts.append(prose(paragraph))
    return "\n\n".join(parts) + "\n"


def prose(text: str) -> str:
    """Return plain text as Markdown in one line; pages of the docs that it names become links.

    >>> prose("tasks like va_* (docs/evaluation.md)")
    'tasks like va\\\\_\\\\* ([evaluation](../../evaluation.md))'
    """
    text = re.sub(r"([*_`<\[\]|])", r"\\\1", " ".join(text.split()))
    return re.sub(r"\bdocs/([\w\\-]+)\.md", r"[\1](../../\1.md)", text)


def _options(params: list[click.Parameter], context: click.Context) -> Iterator[str]:
    """Yield tables of options, one a group."""
    groups: dict[str, list[click.Option]] = {name: [] for name in GROUPS}
    for param in params:
        if isinstance(param, click.Option) and not param.hidden and param.name != "help":
            groups[getattr(param, "group", "")].append(param)
    shown = {name: options for name, options in groups.items() if options}
    for name, options in shown.items():
        if len(shown) > 1:
            yield f"**{HEADINGS.get(name, name.capitalize())} options**\n"
        yield _table(options, context)


def _table(options: list[click.Option], context: click.Context) -> str:
    lines = ["| option | value | default | meaning |", "|---|---|---|---|"]
    for option in options:
        flags = ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag or option.count else option.make_metavar(context)
        repeated = " (may be given several times)" if option.multiple else ""
        cells = [flags, value and f"`{cell(value)}`", _default(option, context)]
        cells.append(prose((option.help or "") + repeated))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _default(option: click.Option, context: click.Context) -> str:
    if option.required:
        return "required"
    default: Any = option.get_default(context, call=False)
    unset = type(default).__name__ == "Sentinel"  # what click has where there is no default
    if unset or default in (None, False, (), "") or callable(default):
        return ""
    values = default if isinstance(default, tuple | list) else [default]
    return f"`{cell(','.join(map(str, values)))}`"


def cell(text: str) -> str:
    """Return Markdown for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _studies() -> Iterator[str]:
    """Yield a section a study: its question and options of its own."""
    yield "\n## Studies\n\nOptions of a study, beside those above.\n"
    for name in STUDIES:
        study = find(name)
        yield f"### {name}\n\n{study.question} Paper: {study.figure}. Cost: {study.cost}.\n"
        options: list[click.Option] = [*options_to_click(study.options)]
        if options:
            yield _table(options, click.Context(click.Command(name)))
        words = ["growloop study", name, "--model CHECKPOINT", study.example]
        yield f"```text\n{' '.join(filter(None, words))}\n```\n"
