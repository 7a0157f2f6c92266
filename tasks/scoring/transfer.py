"""Numbers on their way to the device."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def moved(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device; nobody waits for what a GPU still computes."""
    found = torch.from_numpy(array)
    if device.type != "cuda":
        return found.to(device)
    return found.pin_memory().to(device, non_blocking=True)
