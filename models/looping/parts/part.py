"""Interface of loop parts: one base class a kind.

Per loop of a block, with e the state that entered the block::

    x  = carry.read(state)                 the first state is start's
    x  = between(x)                        from the second loop on
    x  = injection(x, e)
    x  = each conditioning.enter(x)
    y  = block(x)
    y  = each conditioning.leave(x, y), in reverse order
    state = carry.write(state, y)

What leaves the block is ``end(state)``.

A part is a ``torch.nn.Module``: its parameters are trained, saved, loaded and counted with the
model. Its options are the keyword arguments of ``__init__`` after the :class:`BlockShape`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....core.errors import flag
from ....core.schedule import Schedule
from .registry import BlockShape


@dataclass(frozen=True)
class Loop:
    """Loop that a part works in.

    Args:
        number: number of the loop, from 0; ``(rows,)`` where rows of the batch differ.
        total: loops of the block in all; ``(rows,)`` where rows differ.
    """

    number: int | Tensor
    total: int | Tensor

    def entry(self, table: Tensor) -> Tensor:
        """Return the entry of this loop in a table ``(loops, ...)``; later loops use the last.

        Returns:
            ``(...)``, or ``(rows, ...)`` where rows differ.
        """
        last = len(table) - 1
        if isinstance(self.number, Tensor):
            return table[self.number.clamp(0, last)]
        return table[min(self.number, last)]

    def vector(self, table: Tensor) -> Tensor:
        """Return the entry of a table ``(loops, dim)``, shaped to broadcast over tokens."""
        entry = self.entry(table)
        return entry if entry.dim() == 1 else entry[:, None]

    def after_first(self, later: Tensor, first: Tensor) -> Tensor:
        """Return ``first`` in the first loop and ``later`` after it, row by row."""
        if isinstance(self.number, Tensor):
            return torch.where((self.number == 0)[:, None, None], first, later)
        return first if self.number == 0 else later


class Part(nn.Module):
    """Base class of loop parts.

    Attributes:
        kind: kind of part, a key of ``KINDS``.
        part_name: name that ``register_part`` gave it.
        decays: whether its matrices have weight decay; vectors never have.
    """

    kind: ClassVar[str]
    part_name: ClassVar[str] = ""
    decays: ClassVar[bool] = True

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()

    @classmethod
    def options_of(cls, schedule: Schedule) -> dict[str, Any]:
        """Return options that depend on the schedule a part is installed under."""
        return {}

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count the forward FLOPs per token in one loop of a looped block.

        By default every matrix is multiplied with the state once.

        Args:
            schedule: schedule of the model.
            start: first step of the block.
            size: steps of a loop.
            loop: number of the loop, from 0.
        """
        return sum(2.0 * p.numel() for p in self.parameters() if p.dim() == 2)


@dataclass(frozen=True)
class Places:
    """Places of the tokens of a forward pass, for random draws.

    Args:
        positions: position of each token in its text, ``(batch, tokens)``.
        step: number of the training step; None in evaluation.
        first_row: number of the first sequence in the batch of all processes.
    """

    positions: Tensor
    step: int | None = None
    first_row: int = 0


class Start(Part):
    """Part that gives the state of the first loop.

    Attributes:
        acts: whether that is another state than the one that entered the block.
        draws: whether it is drawn at random, from the places of the tokens.
    """

    kind = "start"
    acts: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def begin(self, hidden: Tensor, places: Places | None) -> Tensor:
        """Return the first state, from the one that entered the block, ``(batch, tokens, dim)``.

        Args:
            hidden: state that entered the block.
            places: places of the tokens, for a part that draws; None for others.
        """
        return hidden


class Between(Part):
    """Part that changes the state before each loop but the first.

    Attributes:
        acts: whether it changes anything.
        readout: the model's readout in a tuple, whose final norm a part may use.
    """

    kind = "between"
    acts: ClassVar[bool] = True
    readout: tuple[Any, ...] = ()

    def forward(self, state: Tensor) -> Tensor:
        """Return what the loop reads of the state, ``(batch, tokens, dim)``."""
        return state


class End(Part):
    """Part that changes what leaves the block after its last loop.

    Attributes:
        acts: whether it changes anything.
        readout: the model's readout in a tuple, whose final norm a part may use.
    """

    kind = "end"
    acts: ClassVar[bool] = True
    readout: tuple[Any, ...] = ()

    def forward(self, state: Tensor) -> Tensor:
        """Return what leaves the block, ``(batch, tokens, dim)``."""
        return state


class Injection(Part):
    """Part that forms the input of the block.

    Args:
        norm: normalise the block's first input (RMS norm with learned weights).

    Attributes:
        first: whether the part acts in the first loop too.
    """

    kind = "injection"
    first: bool = False

    def __init__(self, shape: BlockShape, norm: bool = False) -> None:
        super().__init__(shape)
        flag(f"norm of {self.part_name}", norm)
        self.norm = nn.RMSNorm(shape.width, eps=1e-6) if norm else None

    def combine(self, state: Tensor, block_input: Tensor, loop: Loop) -> Tensor:
        """Return the input of the block; in the first loop the state, unless ``first``.

        Args:
            state, block_input: state and the state that entered the block, ``(batch, tokens,
                dim)``.
        """
        if not self.first and isinstance(loop.number, int) and loop.number == 0:
            return state
        entered = block_input.to(state.device)
        if self.norm is not None:
            entered = self.norm(entered)
        joined: Tensor = self(state, entered, loop)
        return joined if self.first else loop.after_first(joined, state)

    def flops(self, schedule: Schedule, start: int, size: int, loop: int) -> float:
        """Count no FLOPs in a first loop that has no injection."""
        return super().flops(schedule, start, size, loop) if self.first or loop else 0.0


class Carry(Part):
    """Part that carries the state from loop to loop.

    Attributes:
        keeps_state: whether the state differs from the output of the block, so that the runner
            holds it between loops.
        detached: whether early loops of truncated back-propagation run it without a graph.
        acts_once: whether it changes a block that runs once.
    """

    kind = "carry"
    acts_once: ClassVar[bool] = True
    keeps_state: ClassVar[bool] = False
    detached: ClassVar[bool] = True

    def begin(self, hidden: Tensor) -> Tensor:
        """Return the first state, from the state that entered the block."""
        return hidden

    def read(self, state: Tensor, loop: Loop) -> Tensor:
        """Return what the block gets, ``(batch, tokens, dim)``."""
        return state

    def write(self, state: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Return the state after a loop, from the state before it and the block's output."""
        return after

    def output(self, state: Tensor) -> Tensor:
        """Return the output of the block after a loop, ``(batch, tokens, dim)``."""
        return state


class Conditioning(Part):
    """Part that tells the block which loop it runs in."""

    kind = "conditioning"

    def enter(self, hidden: Tensor, loop: Loop) -> Tensor:
        """Change the input of the block, ``(batch, tokens, dim)``."""
        return hidden

    def leave(self, before: Tensor, after: Tensor, loop: Loop) -> Tensor:
        """Change the output of the block.

        Args:
            before: input of the block as :meth:`enter` got it.
            after: output of the block.
        """
        return after


def rms_norm(states: Tensor, eps: float = 1e-6) -> Tensor:
    """Normalise vectors to a root mean square of 1, without weights."""
    return nn.functional.rms_norm(states, states.shape[-1:], eps=eps)
