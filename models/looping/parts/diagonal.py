"""Stable diagonal injection of Parcae (arXiv 2604.12946, parcae_lm/modules/injection.py)."""

from __future__ import annotations

from math import log, sqrt

import torch
from torch import Tensor, nn

from ....core.errors import InputError, one_of
from .part import Injection, Loop
from .registry import BlockShape, register_part


@register_part("injection", "diagonal")
class Diagonal(Injection):
    """Diagonal linear system: ``x = exp(-Δ A) ⊙ h + Δ ⊙ (B e)``, in every loop.

    ``A = exp(A_log) > 0`` and ``Δ = softplus(dt_bias)``, so the share of the state is below 1
    whatever the weights. A starts as 1, B as the identity, Δ so that the state's share is
    ``decay``. None of the three has weight decay.

    Parcae normalises e with learned weights (``norm``, on by default here as in its published
    configurations) and starts the recurrence at a random state; here it starts at the block's input
    or, with ``start: zero``, at zero. Not the identity at the start.

    Args:
        norm: normalise the block's first input.
        decay: initial share of the state, between 0 and 1.
        start: state of the first loop: ``input``, the state that entered the block; ``zero``.
    """

    decays = False
    first = True

    def __init__(
        self,
        shape: BlockShape,
        norm: bool = True,
        decay: float = sqrt(1 / 5),
        start: str = "input",
    ) -> None:
        super().__init__(shape, norm)
        if isinstance(decay, bool) or not 0 < decay < 1:
            raise InputError(f"decay of diagonal is between 0 and 1, not {decay}")
        one_of("start of diagonal", start, ("input", "zero"))
        step = -log(decay)
        self.zero_start = start == "zero"
        self.A_log = nn.Parameter(torch.zeros(shape.width))
        self.dt_bias = nn.Parameter(torch.full((shape.width,), log(torch.e**step - 1)))
        self.B = nn.Parameter(torch.eye(shape.width))

    def forward(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the new input of the block."""
        if self.zero_start:
            state = loop.after_first(state, torch.zeros_like(state))
        step = nn.functional.softplus(self.dt_bias)
        share = torch.exp(-step * torch.exp(self.A_log))
        return share * state + step * nn.functional.linear(block_input, self.B)
