"""Entropy-regularised objective of Ouro's exit gate (arXiv 2510.25741)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .objective import LoopTrace, Objective, weight_of
from .registry import BlockShape, register_part


def exit_log_probabilities(logits: Tensor) -> Tensor:
    """Compute the log-probability of leaving after each loop, from gate logits ``(loops, ...)``.

    ``p_t = λ_t Π_{j<t} (1 - λ_j)`` with ``λ = sigmoid(logit)``; the last loop takes what is left.
    Logarithms stay finite where a gate is sure, and so do their gradients.

    >>> exit_log_probabilities(torch.zeros(3)).exp().tolist()
    [0.5, 0.25, 0.25]
    """
    early = logits[:-1].float()
    nothing = torch.zeros_like(logits[:1], dtype=torch.float32)
    leaves, stays = nn.functional.logsigmoid(early), nn.functional.logsigmoid(-early)
    reached = torch.cat([nothing, torch.cumsum(stays, dim=0)])
    return reached + torch.cat([leaves, nothing])


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
        log_share = exit_log_probabilities(logits)
        share = log_share.exp()
        losses = torch.stack([trace.loss(loop) for loop in range(trace.loops)])
        entropy = -(share * log_share).sum(0)
        expected: Tensor = (share * losses).sum(0)
        return expected - self.beta * entropy

    def readouts(self, loops: int) -> float:
        """Return the number of earlier loops: all have a loss."""
        return float(loops - 1)
