"""Losses after several loops, computed inside of the model's forward.

Inside, because data-parallel wrappers see only what the forward does. Training sets
``runner.supervision`` before a forward pass; the output then has ``loop_losses``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...core.errors import InputError
from .parts import LoopTrace
from .runner import Runner


@dataclass(frozen=True)
class Supervision:
    """Targets of a training forward pass.

    Args:
        targets: token ids, ``(targets,)``.
        columns: positions with a target in some row, ``(columns,)``; None for all.
        scored: indices of the targets among rows x columns; None for all.
        cross_entropy: logits ``(targets, vocabulary)`` and targets -> losses in nats.
    """

    targets: Tensor
    columns: Tensor | None
    scored: Tensor | None
    cross_entropy: Callable[[Tensor, Tensor], Tensor]

    def select(self, values: Tensor) -> Tensor:
        """Return the values at the targets: ``(batch, tokens, ...)`` -> ``(targets, ...)``."""
        if self.columns is not None:
            values = values[:, self.columns]
        values = values.flatten(0, 1)
        return values if self.scored is None else values[self.scored]

    def of_logits(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and correctness of each target from its logits."""
        return self.cross_entropy(logits, self.targets), logits.argmax(-1) == self.targets


def supervised_losses(runner: Runner, supervision: Supervision, logits: Tensor) -> Tensor:
    """Compute the objective of each target in nats, ``(targets,)``.

    Args:
        runner: runner after a forward pass in which it recorded the loops.
        supervision: targets.
        logits: logits of the forward pass, at the columns of the supervision.

    Raises:
        InputError: a schedule without a looped block.
    """
    if not runner.recorded:
        raise InputError(
            f"the objective {runner.recurrence.part('objective').name} needs a looped block, and "
            f"the schedule {runner.schedule} has none"
        )
    flat = logits.flatten(0, 1)
    flat = flat if supervision.scored is None else flat[supervision.scored]

    def loss_of(state: Tensor) -> tuple[Tensor, Tensor]:
        return supervision.of_logits(runner.readout(supervision.select(runner.coda(state))))

    heads: dict[str, Any] = {"confidence": runner.confidence}
    if runner.gate is not None:
        heads["gate"] = runner.read_gate
    trace = LoopTrace(
        step=max(0, runner.training_step),
        states=[after for after, _ in runner.recorded],
        changes=[change for _, change in runner.recorded],
        last_loss=supervision.cross_entropy(flat, supervision.targets),
        loss_of=loss_of,
        at_targets=supervision.select,
        rerun=runner.rerun,
        heads={name: head for name, head in heads.items() if head is not None},
    )
    losses: Tensor = runner.objective(trace)
    return losses
