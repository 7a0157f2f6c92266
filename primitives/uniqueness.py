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

from ..core.errors import InputError
from .items import Batch, Item, Source

ALWAYS_HASHED = 2**22  # items; 8 bytes each
STEP = 2**20  # hashes looked up at a time
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
        more = np.empty(stop, np.uint64)
        done = len(hashes)
        more[:done] = hashes
        for batch in source.batches(done, stop):
            more[done : done + len(batch)] = batch.hashes()
            done += len(batch)
        hashes = more
        repeats = _repeats(hashes)
        if stop - len(repeats) >= count:
            break
        stop += 2 * (count + len(repeats) - stop) + 16
    stop, last = count, -1
    while stop != last:  # up to the last item needed, and no further
        stop, last = count + int(np.searchsorted(repeats, stop)), stop
    return Selection(stop, repeats[repeats < stop].astype(np.uint64))


def _repeats(hashes: Hashes) -> NDArray[np.intp]:
    """Where a hash stands that stood before, ascending; needs one copy of ``hashes``."""
    ordered = np.sort(hashes)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(several):
        return np.zeros(0, np.intp)
    found = []
    for start in range(0, len(hashes), STEP):
        part = hashes[start : start + STEP]
        at = np.searchsorted(several, part).clip(max=len(several) - 1)
        found.append(np.flatnonzero(several[at] == part) + start)
    places = np.concatenate(found)
    _, first = np.unique(hashes[places], return_index=True)
    return np.delete(places, first)


def different(source: Source, count: int) -> list[Item]:
    """The first ``count`` different items of ``source``."""
    check_capacity(source, count)
    return [item for batch in select(source, count).blocks(source) for item in batch.items()]
