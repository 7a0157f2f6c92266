"""Fine-tuning: a run on prompts and targets, with few things to decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, whole
from . import runfile
from .data.examples import read_examples
from .engine import Engine, Report


@dataclass(frozen=True)
class Settings:
    """How to fine-tune.

    Args:
        epochs: passes over the examples; at least ``min_steps`` steps are done.
        min_steps: fewest optimizer steps, for few examples.
        batch_size: examples a step.
        seq_len: tokens a row of packed examples.
        lr: peak learning rate: warm-up over a tenth of the steps, then linearly to 0.
        weight_decay: of matrices.
        lora: rank of low-rank adapters; all weights if None.
        untie: give each step of a looped model a layer of its own first.
        schedule: run the layers by another schedule.
        patience: validations without a lower loss before it stops.
        validations: in a run.
        precision: ``bf16`` or ``fp32``.
        micro_batch_size: packed rows a forward pass.
    """

    epochs: int = 10
    min_steps: int = 60
    batch_size: int = 16
    seq_len: int = 512
    lr: float = 1e-4
    weight_decay: float = 0.01
    lora: int | None = None
    untie: bool = False
    schedule: str | None = None
    patience: int = 3
    validations: int = 10
    precision: str = "bf16"
    micro_batch_size: int = 1


def run_of(
    model: str, examples: str, validation: str | None, settings: Settings, seed: int = 0
) -> runfile.Run:
    """The run that fine-tunes a checkpoint.

    Args:
        model: folder or hub id of the checkpoint.
        examples, validation: files of prompts and targets.

    Raises:
        InputError: settings that are not allowed, a file that holds no examples.
    """
    whole("epochs", settings.epochs, 1)
    whole("validations", settings.validations, 1)
    whole("batch_size", settings.batch_size, 1)
    count = len(read_examples(examples))
    batch = min(settings.batch_size, count)
    steps = max(settings.min_steps, settings.epochs * -(-count // batch))
    warmup = max(1, steps // 10)
    fields: dict[str, Any] = {
        "name": "sft",
        "seed": seed,
        "steps": steps,
        "precision": settings.precision,
        "micro_batch_size": settings.micro_batch_size,
        "log_every": 1,
        "model": {"path": model, "untie": settings.untie, "schedule": settings.schedule},
        "data": {
            "examples": examples,
            "validation": validation,
            "batch_size": batch,
            "seq_len": settings.seq_len,
        },
        "optimizer": {
            "lr": settings.lr,
            "weight_decay": settings.weight_decay,
            "warmup": warmup,
            "cooldown": steps - warmup,
        },
        "checkpoints": {"every": max(1, steps // 4), "keep": 1},
    }
    if settings.lora is not None:
        fields["model"]["lora"] = {"rank": settings.lora}
    if validation is not None:
        fields["validate_every"] = max(1, steps // settings.validations)
        fields["patience"] = settings.patience
    return runfile.parse(fields, "fine-tuning")


def finetune(
    run: runfile.Run,
    out: str | Path,
    say: Report = lambda text: None,
    watch: Callable[[int, dict[str, Any]], object] = lambda step, values: None,
) -> Path:
    """Fine-tune, or go on with it; the folder of the best checkpoint (the last without validation).

    Raises:
        InputError: what keeps the run from going on.
    """
    outcome = Engine(run, out, say).train(watch=watch)
    if not outcome.finished:
        raise InputError(f"interrupted after step {outcome.step}; call again to go on")
    return outcome.best or outcome.folder
