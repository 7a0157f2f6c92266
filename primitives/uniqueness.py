"""Which items a file holds: the first ``count`` different ones.

Two indices can draw the same item by chance. Such repeats are found by exact comparison of
prompt hashes and left out, so that a file of a small task holds no item twice; since the
order is that of the index, the file is still a pure function of its coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .items import Batch, Item, Source

ALWAYS_HASHED = 2**22  # items; 8 bytes each
NEGLIGIBLE = 1e-9  # expected repeats below which a larger count is not hashed

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Selection:
    """The indices ``0 .. stop`` less ``repeats``."""

    stop: int
    repeats: NDArray[np.uint64]

    def blocks(self, source: Source) -> Iterator[Batch]:
        """The selected items, a chunk at a time."""
        for batch in source.batches(0, self.stop):
            yield batch.without(self.repeats)


def everything(count: int) -> Selection:
    return Selection(count, np.zeros(0, np.uint64))


def check_capacity(source: Source, count: int) -> None:
    """Refuse more items than half of what the split holds, saying how many it holds."""
    capacity = source.task.capacity(source.split)
    if 2 * count > capacity:
        raise InputError(
            f"too small a space: the {source.split} split of {source.task.name} with these "
            f"parameters holds {capacity:,} different items; at most half of them, "
            f"{capacity // 2:,}, can be drawn, not {count:,}"
        )


def expected_repeats(source: Source, count: int) -> float:
    return count * count / (2 * source.task.capacity(source.split))


def worth_hashing(source: Source, count: int) -> bool:
    """Whether all items are compared: else memory would grow with the count for nothing."""
    return count <= ALWAYS_HASHED or expected_repeats(source, count) >= NEGLIGIBLE


def all_different(hashes: Hashes) -> bool:
    """Whether no hash comes twice; sorts ``hashes`` in place."""
    hashes.sort()
    return not bool((hashes[1:] == hashes[:-1]).any())


def select(source: Source, count: int) -> Selection:
    """The first ``count`` different items of ``source``, found by hashing them all."""
    hashes, stop = np.zeros(0, np.uint64), count
    while True:
        new = [batch.hashes() for batch in source.batches(len(hashes), stop)]
        hashes = np.concatenate([hashes, *new])
        unique, first = np.unique(hashes, return_index=True)
        if len(unique) >= count:
            break
        stop += 2 * (count - len(unique)) + 16
    kept = np.sort(first)[:count]
    stop = int(kept[-1]) + 1
    repeated = np.ones(stop, bool)
    repeated[kept] = False
    return Selection(stop, np.flatnonzero(repeated).astype(np.uint64))


def different(source: Source, count: int) -> list[Item]:
    """The first ``count`` different items of ``source``."""
    check_capacity(source, count)
    return [item for batch in select(source, count).blocks(source) for item in batch.items()]
