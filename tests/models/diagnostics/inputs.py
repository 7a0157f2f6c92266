"""Layers and texts that diagnostics are tried on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def silence(layer: Any) -> None:
    """Let a layer add nothing."""
    with torch.no_grad():
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()


def texts(count: int, length: int = 12) -> list[Tensor]:
    random = torch.Generator().manual_seed(3)
    return [torch.randint(5, 90, (4, length), generator=random) for _ in range(count)]
