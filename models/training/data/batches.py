"""What a step trains on, whatever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """The rows of one process at one step.

    Args:
        tokens: ``(rows, length)`` int64.
        targets: ``(rows, length)`` int64: the token each place is to predict, -100 for none.
        count: targets of all processes together; the loss is their mean.
        positions: ``(rows, length)`` int64 where rows hold several examples, each from 0.
        kinds: ``(rows,)`` int64: what each row is, if the source tells its losses apart.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    count: int
    positions: NDArray[np.int64] | None = None
    kinds: NDArray[np.int64] | None = None

    def parts(self, rows: int) -> list[Batch]:
        """The batch in parts of ``rows`` rows, each without what comes after its last target.

        Attention looks back only, so nothing there matters.
        """
        found = []
        for start in range(0, len(self.tokens), rows):
            here = slice(start, start + rows)
            scored = (self.targets[here] != IGNORED).any(axis=0)
            end = int(scored.nonzero()[0].max(initial=0)) + 1
            found.append(
                Batch(
                    self.tokens[here, :end],
                    self.targets[here, :end],
                    self.count,
                    None if self.positions is None else self.positions[here, :end],
                    None if self.kinds is None else self.kinds[here],
                )
            )
        return found


class Source(Protocol):
    """Batches as a pure function of the step and of :attr:`state`.

    ``kinds`` names what rows can be, ``state`` is what a checkpoint must keep, ``tokenizer`` the
    tokenizer file that a checkpoint gets, ``vocabulary`` how many tokens there are,
    ``end`` the token that ends a document, ``special`` those that every text begins with.
    """

    kinds: tuple[str, ...]
    state: dict[str, Any]
    vocabulary: int
    end: int | None
    special: tuple[int, ...]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """The batch of a step; the processes take equal parts of the same rows."""

    def learned(self, step: int, losses: dict[str, float]) -> str | None:
        """Told the losses of a step by kind; returns what is worth a line."""

    def tokenizer(self) -> Any:
        """A Hugging Face tokenizer, or None."""


def part(rows: int, rank: int, processes: int) -> slice:
    """The rows of one process.

    Raises:
        InputError: they do not divide.
    """
    if rows % processes:
        raise InputError(f"a batch of {rows} does not divide among {processes} processes")
    share = rows // processes
    return slice(rank * share, (rank + 1) * share)
