"""Process groups of FSDP2 shards: processes that must run the same layers at the same time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule


def shard_group(layer: nn.Module) -> Any:
    """Return the process group of a layer's FSDP2 shards; None if it is not sharded."""
    if not isinstance(layer, FSDPModule):
        return None
    mesh = getattr(next(layer.parameters()), "device_mesh", None)  # missing while gathered
    return torch.distributed.group.WORLD if mesh is None else mesh.get_group(mesh.ndim - 1)
