"""Command ``growloop loop``."""

from __future__ import annotations

import click

from .checkpoints import check_out, load, save, writes_checkpoint
from .command import Command
from .options import model_argument
from .schedules import looping, schedule_options


@click.command("loop", cls=Command)
@model_argument
@schedule_options
@writes_checkpoint
def command(
    model: str,
    schedule: str | None,
    block: str | None,
    repeats: int | None,
    dtype: str,
    out: str,
    force: bool,
) -> None:
    """Write MODEL as a looped checkpoint: its unique layers, and the schedule that runs them.

    It is loaded by every command here, and by AutoModelForCausalLM after `import growloop.models`.

    \b
    Examples:
      growloop loop HuggingFaceTB/SmolLM2-135M --block 6:10 --out looped
      growloop loop ./checkpoint --schedule 4-4x4-4 --out looped
    """
    from ..core.errors import InputError

    if schedule is None and block is None:
        raise InputError("nothing to do: give --schedule or --block START:STOP")
    check_out(out, force)
    change = looping(schedule, block, repeats)
    loaded, tokenizer = load(model, dtype)
    if change is not None:
        change(loaded)
    save(loaded, tokenizer, out, force)
