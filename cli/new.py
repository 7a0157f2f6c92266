"""Command ``growloop new``: an example package of a plug-in, to change into one's own."""

from __future__ import annotations

import click

from ..core.errors import InputError
from ..core.extras import missing
from .command import Group
from .options import force_option, out_option


@click.group("new", cls=Group)
def command() -> None:
    """Write an example package that adds a primitive, an operator, a loop part or a study.

    The package has its own tests, installs with pip and is found by growloop through its entry
    point. docs/plugins.md explains its files.

    \b
    Examples:
      growloop new primitive parity --out growloop-parity
      pip install -e growloop-parity
      growloop generate parity --items 1000 --out parity.jsonl
    """


def _write(kind: str, name: str, out: str, force: bool) -> None:
    from ..core.new_package import check_name, write_package

    check_name(kind, name)
    _refuse_taken(kind, name)
    for path in write_package(kind, name, out, force):
        click.echo(str(path), err=True)
    click.echo(f"pip install -e {out}")


def _refuse_taken(kind: str, name: str) -> None:
    """Refuse a name that growloop or an installed plug-in has."""
    from ..core.plugins import entry_points
    from ..primitives import STANDARD, TASKS
    from ..studies.catalog import QUESTIONS
    from ..tasks.catalog import GROUPS

    group = "studies" if kind == "study" else f"{kind}s"
    taken = {point.name: str(origin) for point, origin in entry_points(f"growloop.{group}")}
    if kind == "primitive":
        taken |= dict.fromkeys([*TASKS.own(), *STANDARD, *GROUPS], "growloop")
    elif kind == "study":
        taken |= dict.fromkeys(QUESTIONS, "growloop")
    elif missing("train") is None:  # growloop's own need torch, the package does not
        from ..models.growing.registry import OPERATORS
        from ..models.looping.parts import PARTS

        own = OPERATORS.own() if kind == "operator" else PARTS.own()
        taken |= dict.fromkeys(own, "growloop")
    if name in taken:
        raise InputError(f"there is a {kind} {name} already, of {taken[name]}: choose another name")


def _subcommand(kind: str, noun: str, example: str) -> None:
    def run(name: str, out: str, force: bool) -> None:
        _write(kind, name, out, force)

    run.__doc__ = (
        f"Write a package with {noun} NAME.\n\n\b\nExample:\n"
        f"  growloop new {kind} {example} --out growloop-{example.replace('_', '-')}"
    )
    add = click.argument("name")(
        out_option("folder to write", required=True)(force_option("replace what is there")(run))
    )
    command.command(kind)(add)


_subcommand("primitive", "the reasoning primitive", "parity")
_subcommand("operator", "the growth operator", "repeat_first")
_subcommand("loop", "the loop part", "channel_scale")
_subcommand("study", "the study", "drop-last")
