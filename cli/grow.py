"""Command ``growloop grow``."""

from __future__ import annotations

from typing import Any

import click

from ..core.errors import InputError
from .checkpoints import check_out, load, save, writes_checkpoint
from .command import Command
from .options import model_argument, option


@click.command("grow", cls=Command)
@model_argument
@option(
    "--operator",
    default="lidas",
    show_default=True,
    help="midas, lidas, gradual_stacking, g_stack, solar, llama_pro, "
    "or source layers such as 0:6,2:8",
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
@writes_checkpoint
def command(
    model: str,
    operator: str,
    to: int | None,
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
    from ..models.growing.maps import OPERATORS, check_operator

    options = {name: value for name, value in operator_options.items() if value is not None}
    check_operator(operator, options)  # before the model is loaded
    if to is not None and operator not in OPERATORS:
        raise InputError(f"--to goes with an operator by name ({', '.join(OPERATORS)})")
    loaded, tokenizer = load(model, dtype)
    grow(loaded, operator, to=to, **options)
    save(loaded, tokenizer, out, force)
