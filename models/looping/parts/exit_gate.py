"""Entropy-regularised objective of Ouro's exit gate (arXiv 2510.25741)."""

from __future__ import annotations

import torch
from torch import Tensor

from .objective import LoopTrace, Objective, weight_of
from .registry import BlockShape, register_part


def exit_probabilities(logits: Tensor) -> Tensor:
    """Compute the probability of leaving after each loop, from gate logits ``(loops, ...)``.

    ``p_t = λ_t Π_{j<t} (1 - λ_j)`` with ``λ = sigmoid(logit)``; the last loop takes what is left.

    >>> exit_probabilities(torch.zeros(3)).tolist()
    [0.5, 0.25, 0.25]
    """
    leaves = torch.sigmoid(logits.float())
    stays = torch.cumprod(1 - leaves[:-1], dim=0)
    reached = torch.cat([torch.ones_like(leaves[:1]), stays])
    return reached * torch.cat([leaves[:-1], torch.ones_like(leaves[:1])])


@register_part("objective", "exit_gate")
class ExitGate(Objective):
    """Expected loss over the exit distribution, less its entropy: ``Σ p_t L_t - β H(p)``.

    Trains the gate of the early exit ``criterion: gate`` with the model. Ouro's gate reads the
    state after its final norm, ours the state.

    Args:
        beta: weight of the entropy in nats.
    """

    heads = ("gate",)

    def __init__(self, shape: BlockShape, beta: float = 0.05) -> None:
        super().__init__(shape)
        self.beta = weight_of("exit_gate", "beta", beta)

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the regularised expected loss of each target."""
        gate = trace.heads["gate"]
        logits = torch.stack([trace.at_targets(gate(h)).squeeze(-1) for h in trace.states])
        share = exit_probabilities(logits)
        losses = torch.stack([trace.loss(loop) for loop in range(trace.loops)])
        entropy: Tensor = torch.special.entr(share).sum(0)
        expected: Tensor = (share * losses).sum(0)
        return expected - self.beta * entropy

    def readouts(self, loops: int) -> float:
        """Return the number of earlier loops: all have a loss."""
        return float(loops - 1)
