"""Command ``growloop loop``."""

from __future__ import annotations

import click

from .checkpoints import check_out, load, save, writes_checkpoint
from .command import Command
from .options import model_argument, option
from .schedules import looping, schedule_options


@click.command("loop", cls=Command)
@model_argument
@schedule_options
@option(
    "--mergekit",
    metavar="FILE",
    help="run the layers as a passthrough YAML stacks them",
    group="model",
)
@writes_checkpoint
def command(
    model: str,
    schedule: str | None,
    block: str | None,
    repeats: int | None,
    mergekit: str | None,
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
      growloop loop ./checkpoint --schedule "(6,10)" --out looped
      growloop loop ./checkpoint --mergekit passthrough.yml --out looped
    """
    from ..core.errors import InputError

    if schedule is None and block is None and mergekit is None:
        raise InputError("nothing to do: give --schedule, --block START:STOP or --mergekit FILE")
    if mergekit is not None:
        from ..models.looping.mergekit import read_mergekit

        if schedule is not None:
            raise InputError("--schedule and --mergekit are two schedules: give one of them")
        stacked, _ = read_mergekit(mergekit)
        schedule = ",".join(map(str, stacked.layers)) + ","  # a list may leave layers out
    check_out(out, force)
    change = looping(schedule, block, repeats)
    loaded, tokenizer = load(model, dtype)
    if change is not None:
        change(loaded)
    save(loaded, tokenizer, out, force)
