"""Command ``growloop loop``."""

from __future__ import annotations

from typing import Any

import click

from .checkpoints import check_out, load, save, writes_checkpoint
from .command import Command
from .options import leaderboard_option, model_argument, option
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
@option(
    "--self-contained",
    is_flag=True,
    group="output",
    help="add code that loads it without growloop (trust_remote_code=True), and a model card",
)
@leaderboard_option("results for the card of --self-contained: those of MODEL under this schedule")
@writes_checkpoint
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    schedule: str | None,
    block: str | None,
    repeats: int | None,
    mergekit: str | None,
    self_contained: bool,
    leaderboard: str | None,
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
      growloop loop ./looped --self-contained --leaderboard records --out published
    """
    from ..core.errors import InputError

    if not (schedule or block or mergekit or self_contained):
        raise InputError("nothing to do: give --schedule, --block START:STOP or --mergekit FILE")
    if mergekit is not None:
        from ..models.looping.mergekit import read_mergekit

        if schedule is not None:
            raise InputError("--schedule and --mergekit are two schedules: give one of them")
        stacked, _ = read_mergekit(mergekit)
        schedule = ",".join(map(str, stacked.layers)) + ","  # a list may leave layers out
    if leaderboard is not None and not self_contained:
        raise InputError("--leaderboard needs --self-contained: its results are for the model card")
    check_out(out, force)
    change = looping(schedule, block, repeats)
    loaded, tokenizer = load(model, dtype)
    if change is not None:
        change(loaded)
    card: dict[str, Any] = {}
    if self_contained:
        from ..api.model_cards import card_of

        card = card_of(loaded, model, leaderboard, out, ctx.obj or [])
    save(loaded, tokenizer, out, force, self_contained=self_contained, card=card)
