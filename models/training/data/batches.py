"""Batch of a training step, and the interface of its sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Rows of one process at one step.

    Args:
        tokens: ``(rows, length)`` int64.
        targets: ``(rows, length)`` int64: token that each position predicts, -100 for none.
        count: number of targets of all processes; the loss is their mean.
        positions: ``(rows, length)`` int64 position ids of packed rows, from 0 in each example.
        kinds: ``(rows,)`` int64 index into ``Source.kinds``; None where losses are not split.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    count: int
    positions: NDArray[np.int64] | None = None
    kinds: NDArray[np.int64] | None = None

    def parts(self, rows: int) -> list[Batch]:
        """Split into micro-batches of ``rows`` rows, each cut after its last target.

        Attention is causal, so later tokens do not matter.
        """
        micro_batches = []
        for start in range(0, len(self.tokens), rows):
            here = slice(start, start + rows)
            scored = (self.targets[here] != IGNORED).any(axis=0)
            end = int(scored.nonzero()[0].max(initial=0)) + 1
            micro_batches.append(
                Batch(
                    self.tokens[here, :end],
                    self.targets[here, :end],
                    self.count,
                    None if self.positions is None else self.positions[here, :end],
                    None if self.kinds is None else self.kinds[here],
                )
            )
        return micro_batches


class Source(Protocol):
    """Source of batches, a pure function of the step and of :attr:`state`.

    Attributes:
        kinds: names of the row kinds (lessons) that the loss is reported for; empty for none.
        state: JSON-able state for checkpoints.
        vocabulary: vocabulary size.
        end: id of the end-of-document token; None if there is none.
        special: ids of the tokens that every document begins with, such as BOS.
    """

    kinds: tuple[str, ...]
    state: dict[str, Any]
    vocabulary: int
    end: int | None
    special: tuple[int, ...]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """Return the batch of one process at a step.

        Args:
            step: number of the step.
            rank: number of the process; each takes an equal part of the same global batch.
            processes: number of processes.
        """

    def observe_losses(self, step: int, losses: dict[str, float]) -> str | None:
        """Update :attr:`state` from the losses of a step, such as a curriculum's stage.

        Args:
            step: number of the step.
            losses: kind of row -> mean loss in nats.

        Returns:
            A message for the user, or None.
        """

    def tokenizer(self) -> Any:
        """Return the tokenizer to save in checkpoints, or None."""


def process_rows(rows: int, rank: int, processes: int) -> slice:
    """Return the slice of a global batch that belongs to one process.

    >>> process_rows(8, rank=1, processes=2)
    slice(4, 8, None)

    Raises:
        InputError: rows that do not divide among the processes.
    """
    if rows % processes:
        raise InputError(f"a batch of {rows} does not divide among {processes} processes")
    share = rows // processes
    return slice(rank * share, (rank + 1) * share)
