"""Objective of LoopUS's confidence head (arXiv 2605.11011)."""

from __future__ import annotations

from torch import Tensor, nn

from ....core.errors import whole
from .objective import LoopTrace, Objective, generator, weight_of
from .registry import BlockShape, register_part


@register_part("objective", "confidence")
class Confidence(Objective):
    """Loss at a random loop, its improvement, and a confidence head.

    ``(L_i + L_T) / 2 + β SiLU(L_i - L_{i-1}) + BCE(q_i, right)``.

    A loop i from the second on is drawn each step, and the loss after the last loop is added. The
    head ``q_i`` reads the change of the state by loop i and predicts whether the most likely token
    after it is right; the early exit ``criterion: confidence`` uses it. LoopUS predicts the
    accuracy of a whole sequence from its last token; here every target has a prediction.

    Args:
        beta: weight of the improvement.
        seed: seed of the draws.
    """

    heads = ("confidence",)

    def __init__(self, shape: BlockShape, beta: float = 0.1, seed: int = 0) -> None:
        super().__init__(shape)
        self.beta = weight_of("confidence", "beta", beta)
        self.seed = whole("seed of confidence", seed, 0, 2**63)

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the loss of each target."""
        loop = int(generator(self.seed, trace.step).integers(min(1, trace.loops - 1), trace.loops))
        loss, right = trace.readout(loop)
        total = loss if loop == trace.loops - 1 else (loss + trace.last_loss) / 2
        if loop > 0:
            before = trace.readout(loop - 1)[0].detach()
            total = total + self.beta * nn.functional.silu(loss - before)
        head = trace.heads["confidence"]
        logits = trace.at_targets(head(trace.changes[loop])).squeeze(-1).float()
        return total + nn.functional.binary_cross_entropy_with_logits(
            logits, right.to(logits), reduction="none"
        )

    def readouts(self, loops: int) -> float:
        """Return the readouts of the drawn loop and the one before it."""
        return 2.0 if loops > 1 else 1.0
