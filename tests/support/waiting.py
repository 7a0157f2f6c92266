"""Counts what would make a GPU wait, on any device: reads of a number, shapes that depend on data.

Each of these calls stops the program until the device has done all it was given.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READS = {
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "masked_select",
    "unique_consecutive",
    "_unique2",
}


class Waiting(TorchDispatchMode):
    """Inside, ``reads`` counts such calls by name.

    >>> with Waiting() as waiting:
    ...     _ = torch.ones(3).sum().item()
    >>> dict(waiting.reads)
    {'_local_scalar_dense': 1}
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        chosen = args[1] if name.startswith("index") and len(args) > 1 else ()
        masked = isinstance(chosen, (list, tuple)) and any(
            isinstance(part, Tensor) and part.dtype == torch.bool for part in chosen
        )
        if name in READS or masked:
            self.reads["mask" if masked else name] += 1
        return func(*args, **(kwargs or {}))
