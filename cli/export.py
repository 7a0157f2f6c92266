"""``growloop export``."""

from __future__ import annotations

import click

from .checkpoints import check_out, dtype_option, load, out_option, overwrite_option, save
from .schedules import looping, schedule_options


@click.command("export")
@click.argument("model")
@schedule_options
@dtype_option
@out_option
@overwrite_option
def command(
    model: str,
    schedule: str | None,
    repeat: str | None,
    times: int | None,
    dtype: str,
    out: str,
    overwrite: bool,
) -> None:
    """Write a looped MODEL as a plain checkpoint with a copy of the layer for every step.

    Engines that know no loops load it as the ordinary, deeper model that it is.

    \b
    Examples:
      growloop export ./looped --out unrolled
      growloop export HuggingFaceTB/SmolLM2-135M --repeat 6:10 --out unrolled
    """
    check_out(out, overwrite)
    change = looping(schedule, repeat, times)
    from ..models.growing.grow import untie

    found, tokenizer = load(model, dtype)
    if change is not None:
        change(found)
    save(untie(found), tokenizer, out, overwrite)
