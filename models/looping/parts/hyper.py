"""Hyper-connected residual streams of Hyperloop (arXiv 2604.21254)."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from ....core.errors import whole
from ....core.schedule import Schedule
from .loop_embedding import MOST_LOOPS, most_loops
from .part import Carry, Loop, rms_norm
from .registry import BlockShape, register_part

OLD = -8.0  # initial bias of the old streams: a share of 3e-4
SPREAD = 1e-3  # initial spread of the gates, so that streams differ


@register_part("carry", "hyper")
class Hyper(Carry):
    """Several residual streams, mixed after each loop by gates that depend on them.

    With streams Y (all e at the start) and ``z = rms_norm(flatten(Y))``::

        x  = Σ_n sigmoid(W_pre z + b)_n Y_n            before the block
        Y' = sigmoid(W_res z + b) Y + 2 sigmoid(W_post z + b) block(x)
        output = mean of the streams

    Every loop has gates of its own. The paper's initial values are not known to us: here the
    biases give the mean of the streams before the block, and its output after it, so that a
    trained model changes by less than a thousandth of its state. The paper also adds a vector of
    the loop to the block's output: that is the conditioning ``loop_embedding``, which adds it to
    the input.

    Args:
        streams: number of streams.
        loops: loops with gates of their own; later loops use the last. By default those of the
            schedule under which the part is installed.
    """

    keeps_state = True
    decays = False

    def __init__(self, shape: BlockShape, streams: int = 4, loops: int | None = None) -> None:
        super().__init__(shape)
        self.streams = whole("streams of hyper", streams, 2, 64)
        loops = whole("loops of hyper", 1 if loops is None else loops, 1, MOST_LOOPS)
        wide = streams * shape.width
        self.weight = nn.Parameter(torch.randn(loops, 3 * streams, wide) * SPREAD / sqrt(wide))
        biases = torch.tensor([-log(streams - 1), OLD, 0.0])  # before, old streams, after
        self.bias = nn.Parameter(biases.repeat_interleave(streams).repeat(loops, 1))

    @classmethod
    def options_of(cls, schedule: Schedule) -> dict[str, Any]:
        """Return the number of loops of the schedule."""
        return {"loops": most_loops(schedule)}

    def begin(self, hidden: Tensor) -> Tensor:
        """Copy the state into each stream: ``(batch, tokens, streams, dim)``."""
        return hidden[..., None, :].expand(*hidden.shape[:-1], self.streams, hidden.shape[-1])

    def gates(self, state: Tensor, loop: Loop) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gates before the block, of old streams, after it: ``(..., streams)``."""
        weight = loop.entry(self.weight).to(state.dtype)
        logits = rms_norm(state.flatten(-2)) @ weight.mT + loop.vector(self.bias).to(state.dtype)
        before, old, after = torch.sigmoid(logits).chunk(3, dim=-1)
        return before, old, 2 * after

    def read(self, state: Tensor, loop: Loop) -> Tensor:
        """Return the gated sum of the streams."""
        return (self.gates(state, loop)[0][..., None] * state).sum(-2)

    def write(self, state: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Return the gated old streams plus the gated output of the block."""
        _, old, new = self.gates(state, loop)
        return old[..., None] * state + new[..., None] * after[..., None, :]

    def output(self, state: Tensor) -> Tensor:
        """Return the mean of the streams."""
        return state.mean(-2)

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count the gates of one loop, computed before and after the block."""
        return 2 * 2.0 * self.weight[0].numel()
