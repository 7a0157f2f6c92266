"""Interface of objectives: what the loss sees of the loops, during training.

An objective gets a :class:`LoopTrace` of the looped block and returns the loss of each target. The
held-out loss and all evaluation stay the cross-entropy after the last loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from torch import Tensor

from ....core.errors import InputError, shown
from .part import Part
from .registry import BlockShape, register_part


@dataclass
class LoopTrace:
    """What happened in the looped block of a training forward pass.

    Args:
        step: training step, for random draws.
        states: output of the block after each loop, ``(batch, tokens, dim)`` each.
        changes: change of the state by each loop before the carry, of the same shapes.
        last_loss: cross-entropy of each target after the last loop, in nats, ``(targets,)``.
        loss_of: state after a loop -> cross-entropy of each target and whether the most likely
            token is right, ``(targets,)`` each. Runs the layers after the block, norm and head.
        at_targets: values by position ``(batch, tokens, ...)`` -> by target ``(targets, ...)``.
        rerun: number of loops -> state after that many loops from the same input.
        heads: modules that objectives train: ``gate`` and ``confidence``.
    """

    step: int
    states: list[Tensor]
    changes: list[Tensor]
    last_loss: Tensor
    loss_of: Callable[[Tensor], tuple[Tensor, Tensor]]
    at_targets: Callable[[Tensor], Tensor]
    rerun: Callable[[int], Tensor]
    heads: Mapping[str, Callable[[Tensor], Tensor]]
    _losses: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def loops(self) -> int:
        """Number of loops."""
        return len(self.states)

    def readout(self, loop: int) -> tuple[Tensor, Tensor]:
        """Return loss and correctness of each target after a loop, computed once."""
        if loop not in self._losses:
            self._losses[loop] = self.loss_of(self.states[loop])
        return self._losses[loop]

    def loss(self, loop: int) -> Tensor:
        """Return the cross-entropy of each target after a loop, ``(targets,)``."""
        return self.last_loss if loop == self.loops - 1 else self.readout(loop)[0]


class Objective(Part):
    """Base class of objectives.

    Attributes:
        heads: learned heads that the objective needs: ``gate``, ``confidence``.
    """

    kind = "objective"
    heads: ClassVar[tuple[str, ...]] = ()

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the loss of each target in nats, ``(targets,)``."""
        raise NotImplementedError

    def readouts(self, loops: int) -> float:
        """Return the mean number of readouts beside that of the last loop, for the FLOPs."""
        return 0.0

    def reruns(self, loops: int) -> float:
        """Return the mean number of loops that run again, for the FLOPs."""
        return 0.0


@register_part("objective", "last")
class LastLoop(Objective):
    """Cross-entropy after the last loop."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(shape)

    def forward(self, trace: LoopTrace) -> Tensor:
        """Return the loss of each target."""
        return trace.last_loss


def generator(seed: int, step: int) -> np.random.Generator:
    """Make the generator of a training step's draws, the same on all processes."""
    return np.random.default_rng((seed, step))


def weight_of(part: str, name: str, value: object) -> float:
    """Return a weight of an objective.

    Raises:
        InputError: no number of 0 or more.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= float(value) < float("inf"):  # type: ignore[arg-type]
        raise InputError(f"{name} of {part} is a number of 0 or more, not {shown(value)}")
    return float(value)  # type: ignore[arg-type]
