"""Runs the engine in processes that may be killed; imported by a fork server."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import growloop.models.training.engine as engine
import torch
from growloop.core import files
from growloop.models.training import checkpoint_contents as contents
from growloop.models.training import checkpoints as snapshots
from growloop.models.training import events as changes
from growloop.models.training import runfile


def train(fields: dict[str, Any], out: str, point: str | None = None, nth: int = 1) -> None:
    """Train; if a point is given, die there the nth time it is reached."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(1)
    if point is not None:
        _die_at(point, nth)
    engine.Engine(runfile.parse(fields), Path(out)).train()


def _die_at(point: str, nth: int) -> None:
    owner, name = {
        "filling a checkpoint": (contents, "save_file"),
        "before the manifest": (snapshots, "sha256"),
        "before the rename": (files, "_sync"),
        "dropping old ones": (snapshots, "_drop_old"),
        "before a growth step": (changes, "grow"),
        "after a growth step": (engine, "training_flops"),
        "in a step": (engine.optimizers, "set_rate"),
    }[point]
    original = getattr(owner, name)
    count = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, dying)


def server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
