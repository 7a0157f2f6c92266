"""Handling of signals and of memory errors during a run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from ...core.errors import InputError


class Engine(Protocol):
    """Interface of the training engine that this module needs."""

    stop: bool
    step: int
    micro: int
    run: Any

    def say(self, text: str) -> object:
        """Print a message for the user."""


@contextlib.contextmanager
def interruptible(engine: Engine) -> Iterator[None]:
    """Stop the run after the current step on Ctrl-C and SIGTERM, with a checkpoint."""

    def stop(number: int, frame: Any) -> None:
        del number, frame
        engine.stop = True
        engine.say("stopping after this step")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def enough_memory(engine: Engine) -> Iterator[None]:
    """Turn memory errors into an error that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not full and "can't allocate memory" not in str(error):
            raise
        raise InputError(
            f"out of memory in step {engine.step}, with {engine.micro} sequences of up to "
            f"{engine.run.data.seq_len} tokens a forward pass: lower micro_batch_size or "
            "data.seq_len, or set gradient_checkpointing: true; the last checkpoint stays"
        ) from error
