"""Supervised fine-tuning (SFT) of a checkpoint on a file of examples.

:func:`run_of` turns a few settings into a run file; :func:`finetune` trains it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, whole
from ...core.locks import LOCK, locked
from . import checkpoint_contents as contents
from . import checkpoints as snapshots
from . import runfile
from .checks import check
from .data.rows import read_examples
from .engine import Engine, Report
from .saving_and_stopping import StepPolicy


@dataclass(frozen=True)
class Settings:
    """Settings of a fine-tuning run.

    Args:
        epochs: passes over the examples.
        min_steps: least number of optimizer steps, whatever ``epochs`` gives.
        batch_size: examples a step; fewer if the file has fewer.
        seq_len: tokens a row of packed examples.
        lr: peak learning rate: linear warm-up over a tenth of the steps, then linear decay to 0.
        weight_decay: decay of weight matrices.
        lora: rank of low-rank adapters; None trains all weights.
        untie: give each step of a looped model its own copy of the layer first.
        schedule: schedule to run the layers by instead of the checkpoint's.
        patience: validations in a row without a lower held-out loss before stopping early.
        validations: number of validations in a run.
        precision: precision of matrix products in training: ``bf16`` or ``fp32``.
        micro_batch_size: packed rows a forward pass.
        columns: columns to read, one of ``rows.COLUMNS``; by default decided by the first row.
        delimiter: text between prompt and target; by default that of the columns.
        chat_template: file with the chat template; by default the model's own.
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
    columns: str | None = None
    delimiter: str | None = None
    chat_template: str | None = None


def run_of(
    model: str, examples: str, validation: str | None, settings: Settings, seed: int = 0
) -> runfile.Run:
    """Build the run file that fine-tunes a checkpoint.

    Args:
        model: folder or hub id of the checkpoint.
        examples: file of training examples.
        validation: file of held-out examples; None trains without early stopping.

    Raises:
        InputError: a setting is not allowed, or ``examples`` holds no examples.

    Example::

        run = run_of("checkpoint", "train.jsonl", "validation.jsonl", Settings(epochs=3))
        best = finetune(run, "tuned")
    """
    whole("epochs", settings.epochs, 1, 10**6)
    whole("validations", settings.validations, 1)
    whole("batch_size", settings.batch_size, 1)
    count = len(read_examples(examples, settings.columns))
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
            "columns": settings.columns,
            "delimiter": settings.delimiter,
            "chat_template": settings.chat_template,
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
    keep_optimizer: bool = False,
    device: str | None = None,
) -> Path:
    """Fine-tune or resume; return the folder of the best checkpoint (last without validation).

    Checkpoints of a finished run hold the model alone, in the dtype that its base has on disk.

    Args:
        out: folder of the run.
        say: callback for progress messages, one line each.
        watch: callback for each logged step: (step, metrics).
        keep_optimizer: keep optimizer states and intermediate checkpoints.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default Accelerate's choice.

    Raises:
        InputError: the run cannot start or resume, or was interrupted.
    """
    folder = Path(out)
    state = _finished_state(run, folder, say)
    if state is None:
        engine = Engine(run, folder, say, device=device)
        outcome = engine.train(watch=watch)
        if not outcome.finished:
            raise InputError(f"interrupted after step {outcome.step}; call again to go on")
        engine.accelerator.wait_for_everyone()
        if not engine.accelerator.is_main_process:
            return outcome.best or outcome.folder
        state = contents.read_state(outcome.folder)
    else:
        check(run, folder)  # refuses a changed run file or changed inputs
        say(f"{folder} is finished: {state['step']} steps")
    best = StepPolicy.of(run).best_step(state["best"])
    if not keep_optimizer and "dtype" in state:  # checkpoints of earlier versions stay unchanged
        with locked(folder / LOCK, False, f"{folder} is trained"):
            snapshots.finish(folder, best, contents.OPTIMIZERS)
    return folder / f"step-{state['step'] if best is None else best:09d}"


def _finished_state(run: runfile.Run, folder: Path, say: Report) -> dict[str, Any] | None:
    """Read the last checkpoint's state of a finished run; None if the run is not finished."""
    newest = snapshots.newest(folder, say)
    if newest is None:
        return None
    state = contents.read_state(newest[1])
    return state if StepPolicy.of(run).finished(state["step"], state["best"]) else None
