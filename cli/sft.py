"""Command ``growloop sft``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..core.errors import whole
from ..tasks.evaluate import check_device, require_extra
from .checkpoint_scores import Scores
from .command import Command
from .options import (
    device_option,
    items_option,
    json_option,
    leaderboard_option,
    model_option,
    option,
    out_option,
    shots_option,
    tasks_option,
    training_dtype_option,
    trust_option,
)
from .schedules import schedule_option
from .suite import refuse_given

COLUMNS = ("prompt,target", "prompt,completion", "messages", "instruction,output")
"""As :data:`growloop.models.training.data.rows.COLUMNS`, which click must not load torch for."""


def _number(flag: str, default: int, help: str, *short: str) -> Callable[[Any], Any]:
    """Declare a whole number of the training."""
    return option(
        flag, *short, type=int, default=default, show_default=True, group="training", help=help
    )


@click.command("sft", cls=Command)
@model_option("checkpoint, hub id, GGUF file or package:NAME", required=True)
@training_dtype_option("bfloat16", "[default: bfloat16]")
@device_option()
@schedule_option("run the layers by this schedule, e.g. 4-4x4-4")
@option(
    "--untie",
    is_flag=True,
    group="model",
    help="give each step of a looped model its own layer first",
)
@option(
    "--lora",
    type=int,
    metavar="RANK",
    group="model",
    help="train low-rank adapters of this rank instead of all weights",
)
@trust_option
@tasks_option("tasks that --leaderboard scores", default="reasoning_primitives", show_default=True)
@items_option("questions a task that --leaderboard scores  [default: 1000 of ours]")
@shots_option("examples before each of them  [default: the task's]", type=int)
@option(
    "--data",
    "-d",
    required=True,
    group="training",
    help="JSONL, Parquet or datasets folder with prompt and target, prompt and completion, "
    "messages, or instruction and output",
)
@option("--validation", group="training", help="held-out examples, for early stopping")
@option(
    "--columns",
    type=click.Choice(COLUMNS),
    group="training",
    help="columns to read  [default: those of the first row]",
)
@option(
    "--delimiter",
    metavar="TEXT",
    group="training",
    help="text between prompt and target; \\n and \\t are read  [default: a space, nothing between "
    "prompt and completion]",
)
@option(
    "--chat-template",
    metavar="FILE",
    group="training",
    help="Jinja template of messages  [default: the model's own]",
)
@_number("--seeds", 1, "runs, with seeds 0, 1, ...")
@_number("--epochs", 10, "passes over the examples")
@_number("--min-steps", 60, "fewest optimizer steps")
@_number("--batch-size", 16, "examples a step", "-b")
@_number("--seq-len", 512, "tokens a packed row")
@_number("--rows", 1, "packed rows a forward pass")
@option(
    "--lr", type=float, default=1e-4, show_default=True, group="training", help="peak learning rate"
)
@_number("--validations", 10, "validations in a run")
@_number("--patience", 3, "validations without a lower loss before it stops")
@out_option("folder of checkpoints", required=True)
@option(
    "--keep-optimizer",
    is_flag=True,
    group="output",
    help="keep optimizer states and intermediate checkpoints",
)
@leaderboard_option("score the best checkpoint of each seed, and add the results to the records")
@json_option("print the checkpoints as JSON")
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    out: str,
    data: str,
    validation: str | None,
    columns: str | None,
    delimiter: str | None,
    chat_template: str | None,
    seeds: int,
    epochs: int,
    min_steps: int,
    batch_size: int,
    seq_len: int,
    rows: int,
    lr: float,
    lora: int | None,
    untie: bool,
    schedule: str | None,
    validations: int,
    patience: int,
    dtype: str,
    device: str | None,
    tasks: str,
    items: int | None,
    shots: int | None,
    leaderboard: str | None,
    keep_optimizer: bool,
    as_json: bool,
) -> None:
    """Fine-tune a model on prompts and targets, or on conversations.

    The loss is on the targets alone; of messages, on the turns of the assistant, as the model's
    chat template writes them. Prints the best checkpoint of each seed, a plain Hugging Face folder.
    A stopped run resumes when it is called again.

    With --leaderboard the checkpoints are scored as growloop eval would, and the results stored
    below --out. How many examples a model needs is a study: growloop study sample-efficiency.

    \b
    Examples:
      growloop sft -m ./checkpoint --data train.jsonl --validation held_out.jsonl --out tuned
      growloop sft -m ./checkpoint --data chats.jsonl --chat-template chatml.jinja --out tuned
      growloop sft -m ./looped --untie --data train.jsonl --seeds 3 --out hybrids
      growloop sft -m ./checkpoint --data train.jsonl --out tuned --leaderboard records
    """
    whole("seeds", seeds, 1, 10_000)
    if leaderboard is None:
        refuse_given(ctx, ("tasks", "items", "shots"), "are about --leaderboard: give it too")
    require_extra("train" if lora is None else "lora", "fine-tuning")
    if device is not None:
        check_device(device)
    scores: Scores | None = None
    if leaderboard is not None:
        line = shlex.join(["growloop", *(ctx.obj or [])])
        scores = Scores(tasks, items, shots, leaderboard, Path(out) / "results", device, line)
        scores.check()
    from ..api.training import sft

    result = sft(
        model,
        data,
        out,
        validation=validation,
        seeds=seeds,
        keep_optimizer=keep_optimizer,
        device=device,
        say=_say,
        epochs=epochs,
        min_steps=min_steps,
        batch_size=batch_size,
        seq_len=seq_len,
        lr=lr,
        lora=lora,
        untie=untie,
        schedule=schedule,
        patience=patience,
        validations=validations,
        precision=dtype,
        micro_batch_size=rows,
        columns=columns,
        delimiter=_delimiter(delimiter),
        chat_template=chat_template,
    )
    results = [str(checkpoint) for checkpoint in result.checkpoints]
    if scores is not None:
        for checkpoint in results:
            scores.add(checkpoint, silent=as_json)
    click.echo(json.dumps(results) if as_json else "\n".join(results))


def _delimiter(text: str | None) -> str | None:
    """Read a typed delimiter: ``\\n`` is a newline, ``\\t`` a tab."""
    if text is None:
        return None
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _say(text: str) -> None:
    click.echo(text, err=True)
