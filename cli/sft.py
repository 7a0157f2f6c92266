"""``growloop sft``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..core.errors import whole
from ..tasks.evaluate import require_extra


@click.command("sft")
@click.option("--model", "-m", required=True, help="checkpoint, hub id, GGUF file or package:NAME")
@click.option("--out", "-o", required=True, help="folder of checkpoints")
@click.option(
    "--data", "-d", required=True, help="JSONL, Parquet or datasets folder with prompt and target"
)
@click.option("--validation", help="the same for early stopping")
@click.option("--seeds", type=int, default=1, show_default=True, help="runs, with seeds 0, 1, ...")
@click.option("--epochs", type=int, default=10, show_default=True)
@click.option("--min-steps", type=int, default=60, show_default=True, help="for few examples")
@click.option("--batch-size", "-b", type=int, default=16, show_default=True, help="examples a step")
@click.option("--seq-len", type=int, default=512, show_default=True, help="tokens a packed row")
@click.option("--rows", type=int, default=1, show_default=True, help="packed rows a forward pass")
@click.option("--lr", type=float, default=1e-4, show_default=True, help="peak learning rate")
@click.option("--lora", type=int, metavar="RANK", help="train low-rank adapters alone")
@click.option("--untie", is_flag=True, help="give each step of a looped model its own layer first")
@click.option("--schedule", help="run the layers by this schedule, e.g. 4-4x4-4")
@click.option("--validations", type=int, default=10, show_default=True, help="in a run")
@click.option(
    "--patience", type=int, default=3, show_default=True, help="validations without a lower loss"
)
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print the checkpoints as JSON")
def command(
    model: str,
    out: str,
    data: str,
    validation: str | None,
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
    as_json: bool,
) -> None:
    """Fine-tune a model on prompts and targets; the loss is on the targets alone.

    Prints the best checkpoint of each seed. Called again, it goes on where it was stopped. How
    many examples a model needs is a study: growloop study sample-efficiency.

    \b
    Examples:
      growloop sft -m ./checkpoint --data train.jsonl --validation held_out.jsonl --out tuned
      growloop sft -m ./looped --untie --data train.jsonl --seeds 3 --out hybrids
    """
    whole("seeds", seeds, 1, 10_000)
    require_extra("train", "fine-tuning")
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
    )
    found = _tune(model, data, validation, settings, Path(out), seeds)
    click.echo(json.dumps(found) if as_json else "\n".join(found))


def _tune(
    model: str, data: str, validation: str | None, settings: Any, out: Path, seeds: int
) -> list[str]:
    """Fine-tune on a file; the best checkpoint of each seed."""
    from ..models.training.checks import check, check_writable
    from ..models.training.data.examples import read_examples
    from ..models.training.finetuning import finetune, run_of
    from ..studies.checkpoints import as_folder
    from .progress import Progress

    check_writable(out)
    run_of(model, data, validation, settings)  # refuses settings and data
    if validation is not None:
        read_examples(validation)
    folder = as_folder(model, out)
    runs = {
        out / f"seed-{seed}": run_of(folder, data, validation, settings, seed)
        for seed in range(seeds)
    }
    for number, (place, run) in enumerate(runs.items()):
        if number == 0 or place.exists():  # new ones differ in their seed alone
            check(run, place)
    found = []
    for seed, (place, run) in enumerate(runs.items()):
        with Progress(run.steps, f"seed {seed}") as progress:
            found.append(str(finetune(run, place, _say, progress)))
    return found


def _say(text: str) -> None:
    click.echo(text, err=True)
