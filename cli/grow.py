"""Command ``growloop grow``."""

from __future__ import annotations

from typing import Any

import click

from ..core import plugins
from ..core.errors import InputError
from .checkpoints import check_out, load, save, writes_checkpoint
from .command import Command
from .options import model_argument, option, parse_params


class GrowCommand(Command):
    """Command ``grow``, whose help lists the operators of plug-ins."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List names and origins from metadata; no plug-in is imported."""
        plugins.load_named_files()
        points = plugins.entry_points("growloop.operators")
        if points:
            with formatter.section("Operators of plug-ins"):
                formatter.write_dl([(point.name, str(origin)) for point, origin in points])


@click.command("grow", cls=GrowCommand)
@model_argument
@option(
    "--operator",
    default="lidas",
    show_default=True,
    help="midas, lidas, gradual_stacking, g_stack, solar, llama_pro, "
    "or the name of a plug-in's; module:function; or source layers such as 0:6,2:8",
)
@option("--to", type=int, help="number of layers to grow to  [default: grow once]")
@option("--block-size", type=int, help="layers a block  [default: 4]")
@option("--order", help="lidas: contiguous or inserted copy  [default: contiguous]")
@option(
    "--copies",
    "times",
    aliases=("--times",),
    type=int,
    help="copies of the stack in all, for g_stack  [default: 2]",
)
@option("--drop", type=int, help="layers left out of each copy, for solar  [default: 8]")
@option(
    "--operator-option",
    "more_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="another option of a plug-in's operator or a function",
)
@writes_checkpoint
def command(
    model: str,
    operator: str,
    to: int | None,
    more_options: tuple[str, ...],
    dtype: str,
    out: str,
    force: bool,
    **operator_options: Any,
) -> None:
    """Deepen MODEL by copying layers, and write it as an ordinary checkpoint.

    \b
    Examples:
      growloop grow ./checkpoint --operator lidas --to 24 --out grown
      growloop grow HuggingFaceTB/SmolLM2-135M --operator solar --drop 6 --out upscaled
      growloop grow ./checkpoint --operator 0:8,4:12 --out grown
    """
    check_out(out, force)
    from ..models.growing.grow import grow
    from ..models.growing.maps import check_operator
    from ..models.growing.registry import OPERATORS, find_operator

    options = {name: value for name, value in operator_options.items() if value is not None}
    options |= _typed(more_options, options)
    check_operator(operator, options)  # before the model is loaded
    if to is not None and find_operator(operator) is None:
        raise InputError(f"--to goes with an operator by name ({', '.join(OPERATORS)})")
    loaded, tokenizer = load(model, dtype)
    grow(loaded, operator, to=to, **options)
    save(loaded, tokenizer, out, force)


def _typed(pairs: tuple[str, ...], given: dict[str, Any]) -> dict[str, int | str]:
    """Parse options of an operator; whole numbers become integers."""
    options: dict[str, int | str] = {}
    for name, value in parse_params(pairs, "--operator-option").items():
        if name in given:
            raise InputError(f"the operator's option {name} is given twice")
        whole = value.isascii() and value.removeprefix("-").isdecimal() and len(value) < 19
        options[name] = int(value) if whole else value
    return options
