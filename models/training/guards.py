"""Handling of signals, of memory errors and of a full disk during a run."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from ...core.errors import InputError
from ...core.files import disk_error
from ...core.locks import LOCK, locked
from .metrics import FILE


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


@contextlib.contextmanager
def run_folder(out: Path) -> Iterator[None]:
    """Lock the folder of a run; create it if missing.

    A run that fails before its first checkpoint removes what it has written if the disk is full,
    or if no step was logged yet.

    Raises:
        InUseError: another process trains in the folder.
    """
    missing = [path for path in (out, *out.parents) if not path.exists()]
    before = set() if missing else set(out.iterdir())
    try:
        with locked(out / LOCK, False, f"{out} is trained"):
            try:
                yield
            except BaseException as error:
                if _is_useless(out, error):
                    for path in set(out.iterdir()) - before:
                        _remove(path)
                raise
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # another process has written there
                folder.rmdir()
        raise


def _is_useless(out: Path, error: BaseException) -> bool:
    """Return whether a failed run left nothing to read or to resume from."""
    if any(out.glob("step-*")):
        return False
    metrics = out / FILE
    logged = metrics.is_file() and metrics.stat().st_size > 0
    return not logged or (isinstance(error, Exception) and disk_error(error) is not None)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
