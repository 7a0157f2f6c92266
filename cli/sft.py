"""Command ``growloop sft``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..core.errors import shown, whole
from ..tasks.evaluate import require_extra
from .options import trust_option

COLUMNS = ("prompt,target", "prompt,completion", "messages", "instruction,output")
"""As :data:`growloop.models.training.data.rows.COLUMNS`, which click must not load torch for."""


@click.command("sft")
@click.option("--model", "-m", required=True, help="checkpoint, hub id, GGUF file or package:NAME")
@click.option("--out", "-o", required=True, help="folder of checkpoints")
@click.option(
    "--data",
    "-d",
    required=True,
    help="JSONL, Parquet or datasets folder with prompt and target, prompt and completion, "
    "messages, or instruction and output",
)
@click.option("--validation", help="held-out examples, for early stopping")
@click.option(
    "--columns",
    type=click.Choice(COLUMNS),
    help="columns to read  [default: those of the first row]",
)
@click.option(
    "--delimiter",
    metavar="TEXT",
    help="text between prompt and target; \\n and \\t are read  [default: a space, nothing between "
    "prompt and completion]",
)
@click.option(
    "--chat-template", metavar="FILE", help="Jinja template of messages  [default: the model's own]"
)
@click.option("--seeds", type=int, default=1, show_default=True, help="runs, with seeds 0, 1, ...")
@click.option("--epochs", type=int, default=10, show_default=True, help="passes over the examples")
@click.option("--min-steps", type=int, default=60, show_default=True, help="fewest optimizer steps")
@click.option("--batch-size", "-b", type=int, default=16, show_default=True, help="examples a step")
@click.option("--seq-len", type=int, default=512, show_default=True, help="tokens a packed row")
@click.option("--rows", type=int, default=1, show_default=True, help="packed rows a forward pass")
@click.option("--lr", type=float, default=1e-4, show_default=True, help="peak learning rate")
@click.option(
    "--lora",
    type=int,
    metavar="RANK",
    help="train low-rank adapters of this rank instead of all weights",
)
@click.option("--untie", is_flag=True, help="give each step of a looped model its own layer first")
@click.option("--schedule", help="run the layers by this schedule, e.g. 4-4x4-4")
@click.option("--validations", type=int, default=10, show_default=True, help="validations in a run")
@click.option(
    "--patience",
    type=int,
    default=3,
    show_default=True,
    help="validations without a lower loss before it stops",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "fp32"]),
    default="bf16",
    show_default=True,
    help="of matrix products",
)
@click.option(
    "--keep-optimizer", is_flag=True, help="keep optimizer states and intermediate checkpoints"
)
@trust_option
@click.option("--json", "as_json", is_flag=True, help="print the checkpoints as JSON")
def command(
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
    precision: str,
    keep_optimizer: bool,
    as_json: bool,
) -> None:
    """Fine-tune a model on prompts and targets, or on conversations.

    The loss is on the targets alone; of messages, on the turns of the assistant, as the model's
    chat template writes them. Prints the best checkpoint of each seed, a plain Hugging Face folder.
    Called again, it goes on where it was stopped. How many examples a model needs is a study:
    growloop study sample-efficiency.

    \b
    Examples:
      growloop sft -m ./checkpoint --data train.jsonl --validation held_out.jsonl --out tuned
      growloop sft -m ./checkpoint --data chats.jsonl --chat-template chatml.jinja --out tuned
      growloop sft -m ./looped --untie --data train.jsonl --seeds 3 --out hybrids
    """
    whole("seeds", seeds, 1, 10_000)
    require_extra("train" if lora is None else "lora", "fine-tuning")
    from transformers.utils import logging

    from ..models.training.finetuning import Settings

    logging.disable_progress_bar()
    settings = Settings(
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
        precision=precision,
        micro_batch_size=rows,
        columns=columns,
        delimiter=_delimiter(delimiter),
        chat_template=chat_template,
    )
    results = _tune(model, data, validation, settings, Path(out), seeds, keep_optimizer)
    click.echo(json.dumps(results) if as_json else "\n".join(results))


def _tune(
    model: str,
    data: str,
    validation: str | None,
    settings: Any,
    out: Path,
    seeds: int,
    keep_optimizer: bool,
) -> list[str]:
    """Fine-tune on a file; the best checkpoint of each seed."""
    from ..models.training.checks import check, check_writable
    from ..models.training.data.rows import read_examples
    from ..models.training.finetuning import finetune, run_of
    from ..studies.checkpoints import as_folder
    from .progress import Progress

    check_writable(out)
    run_of(model, data, validation, settings)  # refuses settings and data
    if validation is not None:
        read_examples(validation, settings.columns)
    folder = as_folder(model, out)
    runs = {
        out / f"seed-{seed}": run_of(folder, data, validation, settings, seed)
        for seed in range(seeds)
    }
    for number, (place, run) in enumerate(runs.items()):
        if number == 0 or place.exists():  # new ones differ in their seed alone
            start = check(run, place)
        if number == 0:
            _say(_reading(data, start.source))
    found = []
    for seed, (place, run) in enumerate(runs.items()):
        with Progress(run.steps, f"seed {seed}") as progress:
            found.append(str(finetune(run, place, _say, progress, keep_optimizer)))
    return found


def _reading(data: str, source: Any) -> str:
    """Describe the columns read from the data, and the delimiter that joins them."""
    about = source.about
    what = f"{len(source):,} examples of {data}: {about['columns'].replace(',', ' and ')}"
    if "delimiter" in about:
        return f"{what}, {shown(about['delimiter'])} between them"
    return f"{what}, rendered by the chat template; learned are the turns of the assistant"


def _delimiter(text: str | None) -> str | None:
    """Read a typed delimiter: ``\\n`` is a newline, ``\\t`` a tab."""
    if text is None:
        return None
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _say(text: str) -> None:
    click.echo(text, err=True)
