"""Device of a run: Accelerate's choice, or the one that the user names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ...core.errors import InputError, shown

if TYPE_CHECKING:
    from accelerate import Accelerator

CHOICE = "ACCELERATE_TORCH_DEVICE"  # environment variable that Accelerate reads


def make_accelerator(device: str | None, **settings: Any) -> Accelerator:
    """Make an Accelerator on a device.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None for Accelerate's choice. With several
            processes ``cuda`` is a GPU for each of them.
        settings: arguments of ``Accelerator``.

    Raises:
        InputError: the device is unavailable, or this process already trains on another.
    """
    from accelerate import Accelerator
    from accelerate.state import PartialState

    if device is None:
        return Accelerator(**settings)
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"no device {shown(device)}") from error
    named = ":" in device or wanted.type == "cpu"
    fresh = not PartialState._shared_state  # its device is chosen once in a process
    with _environment(CHOICE, device if named and fresh else None):
        accelerator = Accelerator(**settings, cpu=fresh and wanted.type == "cpu")
    chosen = accelerator.device
    if chosen.type != wanted.type or (named and (chosen.index or 0) != (wanted.index or 0)):
        raise InputError(f"no device {shown(device)} here: Accelerate trains on {chosen}")
    return accelerator


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable for a while; None changes nothing."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before
