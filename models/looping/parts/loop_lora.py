"""A low-rank change of the block's linear maps for each loop (Bae 2025, arXiv 2410.20672)."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ....core.errors import InputError, whole
from ....core.schedule import Schedule
from .loop_embedding import PerLoop
from .part import Loop
from .registry import BlockShape, register_part


@register_part("conditioning", "loop_lora")
class LoopLora(PerLoop):
    """LoRA of the loop on every linear map: ``W x + (alpha / rank) B_i A_i x``.

    B starts at zero, so the part starts as the identity. Bae et al. initialise the change from
    the layers that the shared one replaces (SVD); that is not done here.

    Args:
        loops: see :class:`PerLoop`.
        rank: rank of the change.
        alpha: scale; by default the rank.
        layers: unique layers with a change; by default those of the looped blocks.
    """

    def __init__(
        self,
        shape: BlockShape,
        loops: int | None = None,
        rank: int = 8,
        alpha: float | None = None,
        layers: tuple[int, ...] = (),
    ) -> None:
        super().__init__(shape, loops)
        self.rank = whole("rank of loop_lora", rank, 1, 2**16)
        if alpha is not None and (isinstance(alpha, bool) or not 0 < alpha < float("inf")):
            raise InputError(f"alpha of loop_lora is above 0, not {alpha}")
        self.scale = (rank if alpha is None else alpha) / rank
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        self.layers = tuple(whole("a layer of loop_lora", layer, 0) for layer in layers)
        for layer in self.layers if shape.layers else ():
            if layer >= len(shape.layers):
                raise InputError(f"loop_lora names layer {layer}, the model has "
                                 f"{len(shape.layers)} layers")  # fmt: skip
            for name, linear in _linears(shape.layers[layer]):
                wide, high = _sizes(linear)
                key = f"{layer}/{name}".replace(".", "/")  # a name in a state dict has no dots
                bound = 1 / sqrt(wide)
                self.down[key] = nn.Parameter(
                    torch.empty(self.loops, wide, self.rank).uniform_(-bound, bound)
                )
                self.up[key] = nn.Parameter(torch.zeros(self.loops, self.rank, high))

    @classmethod
    def options_of(cls, schedule: Schedule) -> dict[str, Any]:
        """Return the loops of the schedule and the layers of its looped blocks."""
        looped = {
            schedule.layers[step]
            for section in schedule.sections
            if section.times > 1
            for step in range(section.start, section.start + section.size)
        }
        return {**super().options_of(schedule), "layers": tuple(sorted(looped))}

    def attach(self, layers: tuple[nn.Module, ...], active: Any) -> list[Any]:
        """Hook the change onto the linear maps; return handles to remove the hooks.

        Args:
            layers: unique layers of the model.
            active: object whose ``loop`` is the :class:`Loop` that a layer runs in, or None.
        """
        handles = []
        for layer in self.layers:
            for name, linear in _linears(layers[layer]):
                key = f"{layer}/{name}".replace(".", "/")
                hook = _Change(self, active, key)
                handles.append(linear.register_forward_hook(hook.add))
        return handles

    def change(self, key: str, inputs: Tensor, loop: Loop) -> Tensor:
        """Compute the change of a linear map's output, ``(batch, tokens, out)``."""
        down, up = loop.entry(self.down[key]), loop.entry(self.up[key])
        return self.scale * (inputs @ down.to(inputs.dtype)) @ up.to(inputs.dtype)

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count both factors of one loop, in the layers of the block."""
        ran = schedule.layers[start : start + size]
        sizes = [*self.down.items(), *self.up.items()]
        counted = (v[0].numel() * ran.count(int(key.partition("/")[0])) for key, v in sizes)
        return 2.0 * float(sum(counted))


class _Change:
    """Forward hook of one linear map: adds the change of the loop that runs."""

    def __init__(self, part: LoopLora, active: Any, key: str) -> None:
        self.part, self.active, self.key = part, active, key

    def add(self, linear: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Return the output with the change; unchanged outside of looped blocks."""
        loop = self.active.loop
        return output if loop is None else output + self.part.change(self.key, args[0], loop)


def _linears(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Iterate over the linear maps of a layer."""
    for name, module in layer.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            yield name, module


def _sizes(linear: Any) -> tuple[int, int]:
    """Return input and output width of a linear map."""
    if isinstance(linear, Conv1D):
        return int(linear.weight.shape[0]), int(linear.weight.shape[1])
    return int(linear.in_features), int(linear.out_features)
