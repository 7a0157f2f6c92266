"""Commands whose options have hidden aliases, help in groups, and suggestions for typing errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

import click

FEW = 10  # options that need no groups in --help
GROUPS = ("model", "tasks", "training", "output", "")
"""Groups of options in the order of ``--help``; the last one has the options of no group."""
HEADINGS = {"tasks": "Task", "": "Other"}  # where it is not the name of the group


class Option(click.Option):
    """Option with hidden aliases and a group in ``--help``.

    Args:
        aliases: older flags of the option, which are parsed and never shown.
        group: heading in ``--help``, one of ``GROUPS``.
    """

    def __init__(
        self, flags: Sequence[str], *, aliases: Sequence[str] = (), group: str = "", **settings: Any
    ) -> None:
        super().__init__(flags, **settings)
        self.aliases = tuple(aliases)
        self.group = group

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Add the flags and the aliases to a parser."""
        shown = self.opts
        self.opts = [*shown, *self.aliases]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = shown


class Command(click.Command):
    """Command whose ``--help`` groups many options, and whose errors suggest its own options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments.

        Raises:
            UsageError: an unknown option; the message has the nearest one of the command.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flags = flags_of(self.get_params(ctx))
            raise no_such_option(error.option_name, flags, ctx) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in groups where there are many."""
        write_options(self.get_params(ctx), ctx, formatter)


class Group(click.Group):
    """Group of such commands."""

    command_class = Command


def write_options(
    params: Iterable[click.Parameter],
    ctx: click.Context,
    formatter: click.HelpFormatter,
    of: str = "",
) -> None:
    """Write help records, under a heading for each group if there are more than ``FEW``.

    Args:
        of: what the options are of, for the headings.
    """
    groups: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
    for param in params:
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is not None:
            groups[getattr(param, "group", "")].append(record)
    records = {name: found for name, found in groups.items() if found}
    headings = {name: f"{HEADINGS.get(name, name.capitalize())} options{of}" for name in records}
    if sum(map(len, records.values())) <= FEW or len(records) < 2:
        records = {"": [record for found in records.values() for record in found]}
        headings = {"": f"Options{of}"}
    for name, found in records.items():
        with formatter.section(headings[name]):
            formatter.write_dl(found)


def flags_of(params: Iterable[click.Parameter]) -> list[str]:
    """Return the flags that ``--help`` shows."""
    shown = [p for p in params if isinstance(p, click.Option) and not p.hidden]
    return [flag for param in shown for flag in param.opts]


def no_such_option(flag: str, known: Iterable[str], ctx: click.Context) -> click.UsageError:
    """Make the error for an unknown flag, with the nearest known one; of several the first."""
    scores = {name: SequenceMatcher(None, flag, name).ratio() for name in known}
    near = max(scores, key=lambda name: scores[name], default="")
    hint = f": did you mean '{near}'?" if near and scores[near] >= 0.6 else ""
    return click.UsageError(f"no such option '{flag}'{hint}", ctx)
