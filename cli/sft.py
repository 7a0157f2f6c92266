"""``growloop sft``."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..primitives.errors import InputError, whole
from ..tasks.evaluate import model_arguments, require_extra


@click.command("sft")
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    required=True,
    help="checkpoint, hub id, GGUF file or package:NAME; several with --sizes",
)
@click.option("--out", "-o", required=True, help="folder of checkpoints and records")
@click.option("--data", "-d", help="JSONL, Parquet or datasets folder with prompt and target")
@click.option("--validation", help="the same for early stopping")
@click.option("--sizes", help="measure sample efficiency on variable assignment, e.g. 0,64,128,256")
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
@click.option("--train-depths", default="1,2", show_default=True, help="with --sizes")
@click.option("--depths", default="0,1,2", show_default=True, help="that are scored, with --sizes")
@click.option("--items", "-n", type=int, default=1000, show_default=True, help="test items a depth")
@click.option(
    "--shots", "-k", type=int, default=0, show_default=True, help="examples in a scored prompt"
)
@click.option("--dtype", default="auto", show_default=True, help="of the weights when scoring")
@click.option("--leaderboard", metavar="FOLDER", help="add what --sizes measures to records there")
@click.option("--keep", is_flag=True, help="keep the checkpoints of --sizes")
@click.option("--json", "as_json", is_flag=True, help="print results as JSON")
def command(
    models: tuple[str, ...],
    out: str,
    data: str | None,
    validation: str | None,
    sizes: str | None,
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
    train_depths: str,
    depths: str,
    items: int,
    shots: int,
    dtype: str,
    leaderboard: str | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Fine-tune a model on prompts and targets; the loss is on the targets alone.

    With --data, on that file: prints the best checkpoint of each seed. With --sizes, the paper's
    sample-efficiency protocol: variable assignment in code, as many examples of each training
    depth, a run for each size and seed, scored at each depth. Called again, either goes on where
    it was stopped.

    \b
    Examples:
      growloop sft -m ./checkpoint --data train.jsonl --validation held_out.jsonl --out tuned
      growloop sft -m ./looped -m ./grown --sizes 0,64,128,256 --seeds 3 --out efficiency
    """
    if (data is None) == (sizes is None):
        raise InputError("give --data or --sizes, one of them")
    if data is not None and len(models) > 1:
        raise InputError("--data takes one --model")
    if leaderboard is not None and sizes is None:
        raise InputError("--leaderboard belongs to --sizes: --data measures nothing")
    if validation is not None and data is None:
        raise InputError("--validation belongs to --data: --sizes makes its own")
    whole("seeds", seeds, 1, 10_000)
    counts, trained, scored = (
        _numbers(name, text)
        for name, text in [
            ("sizes", sizes or "0"),
            ("train-depths", train_depths),
            ("depths", depths),
        ]
    )
    require_extra()
    from transformers.utils import logging

    from ..models.training.finetuning import Settings
    from ..studies.sample_efficiency import Protocol
    from ..studies.subjects import model_name

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
    if data is not None:
        found = _tune(_folder(models[0], Path(out)), data, validation, settings, Path(out), seeds)
        click.echo(json.dumps(found) if as_json else "\n".join(found))
        return
    protocol = Protocol(
        sizes=counts,
        seeds=seeds,
        train_depths=trained,
        depths=scored,
        items=items,
        shots=shots,
        dtype=dtype,
        settings=settings,
    )
    protocol.check()
    named = {model_name(model): _folder(model, Path(out)) for model in models}
    if len(named) < len(models):
        raise InputError("two of the models have the same name: rename their folders")
    _measure(named, protocol, Path(out), keep, as_json, leaderboard)


def _tune(
    model: str, data: str, validation: str | None, settings: Any, out: Path, seeds: int
) -> list[str]:
    """Fine-tune on a file; the best checkpoint of each seed."""
    from ..models.training.finetuning import finetune, run_of
    from .progress import Progress

    found = []
    for seed in range(seeds):
        run = run_of(model, data, validation, settings, seed)
        with Progress(run.steps, f"seed {seed}") as progress:
            found.append(str(finetune(run, out / f"seed-{seed}", _say, progress)))
    return found


def _measure(
    models: dict[str, str],
    protocol: Any,
    out: Path,
    keep: bool,
    as_json: bool,
    leaderboard: str | None,
) -> None:
    from accelerate import PartialState

    from ..leaderboard import Store
    from ..studies import sample_efficiency as study
    from .progress import Progress

    records = []
    store = None if leaderboard is None else Store(leaderboard)
    if store is not None:
        store.scan()  # refused before the slow part if it is no store
    cells = study.plan(models, protocol)
    for number, cell in enumerate(cells, start=1):
        _say(f"{number} of {len(cells)}: {cell.model}, {cell.size} examples, seed {cell.seed}")
        with Progress(None, cell.id) as progress:
            records.append(study.run_cell(cell, protocol, out, _say, progress, keep))
        if store is not None and PartialState().is_main_process:
            store.add(study.records_of(records[-1]))
    if not PartialState().is_main_process:
        return
    lines = study.table(records)
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return
    _print_table(lines, protocol)


def _print_table(lines: list[Any], protocol: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    title = (
        f"Variable assignment ({protocol.style}): accuracy after fine-tuning on depths "
        f"{', '.join(map(str, protocol.train_depths))}, {protocol.items:,} test items a depth, "
        f"{protocol.shots} shots, chance {lines[0].chance:.2f}"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("examples", justify="right")
    table.add_column("seeds", justify="right")
    for depth in protocol.depths:
        table.add_column(f"depth {depth}", justify="right", no_wrap=True)
    cells = {(line.model, line.size, line.depth): line for line in lines}
    for model, size in dict.fromkeys((line.model, line.size) for line in lines):
        found = [cells[model, size, depth] for depth in protocol.depths]
        values = [f"{c.mean:.3f} [{c.low:.3f}, {c.high:.3f}]" for c in found]
        table.add_row(model, f"{size:,}", str(found[0].seeds), *values)
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """``0,64,128`` as numbers, each once."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch(r"\d{1,9}", part) for part in parts):
        raise InputError(f"--{name} takes whole numbers with commas between, not '{text}'")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _folder(model: str, out: Path) -> str:
    """Where the checkpoint is; a GGUF file is written as one first."""
    where = model_arguments(model)
    if "gguf_file" not in where:
        return str(where["pretrained"])
    from ..models import checkpoints
    from ..studies.subjects import model_name
    from .checkpoints import load

    folder = out / "models" / model_name(model)
    if not (folder / "config.json").is_file():
        checkpoints.save(*load(model, "auto"), folder)
    return str(folder)
