"""Deduplication: the first ``count`` different items of a source.

Two indices can draw the same item by chance. Such duplicates are detected by prompt hashes and
skipped, so that a file holds no item twice. Items stay in the order of their index, so a file is
still a pure function of its coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .items import Batch, Item, Source

ALWAYS_HASHED = 2**22  # items, 8 bytes each, up to which all are hashed
STEP = 2**20  # hashes looked up at a time
NEGLIGIBLE = 1e-9  # expected duplicates below which a larger count is not hashed

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Selection:
    """Selected indices: ``0 .. stop-1`` without ``repeats`` (ascending)."""

    stop: int
    repeats: NDArray[np.uint64]

    def blocks(self, source: Source) -> Iterator[Batch]:
        """Yield the selected items, a chunk at a time."""
        for batch in source.batches(0, self.stop):
            yield batch.without(self.repeats)


def everything(count: int) -> Selection:
    """Select the indices ``0 .. count-1``, without looking for duplicates."""
    return Selection(count, np.zeros(0, np.uint64))


def check_capacity(source: Source, count: int) -> None:
    """Refuse more than half of the items that the split holds.

    Raises:
        InputError: with the number that the split holds.
    """
    capacity = source.task.capacity(source.split)
    if 2 * count > capacity:
        raise InputError(
            f"too small a space: the {source.split} split of {source.task.name} with these "
            f"parameters holds {capacity:,} different items; at most half of them, "
            f"{capacity // 2:,}, can be drawn, not {count:,}"
        )


def expected_repeats(source: Source, count: int) -> float:
    """Estimate the number of duplicates among ``count`` items (birthday bound, from above)."""
    return count * count / (2 * source.task.capacity(source.split))


def worth_hashing(source: Source, count: int) -> bool:
    """Return whether duplicates are likely enough to hash all items, which costs memory."""
    return count <= ALWAYS_HASHED or expected_repeats(source, count) >= NEGLIGIBLE


def all_different(hashes: Hashes) -> bool:
    """Return whether all hashes differ; sorts ``hashes`` in place."""
    hashes.sort()
    return not bool((hashes[1:] == hashes[:-1]).any())


def select(source: Source, count: int) -> Selection:
    """Select the first ``count`` different items of ``source`` by hashing."""
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
    while stop != last:  # shrink to the last item needed
        stop, last = count + int(np.searchsorted(repeats, stop)), stop
    return Selection(stop, repeats[repeats < stop].astype(np.uint64))


def _repeats(hashes: Hashes) -> NDArray[np.intp]:
    """Return the ascending indices of hashes that occurred before; takes one copy of ``hashes``."""
    ordered = np.sort(hashes)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(several):
        return np.zeros(0, np.intp)
    chunks = []
    for start in range(0, len(hashes), STEP):
        part = hashes[start : start + STEP]
        at = np.searchsorted(several, part).clip(max=len(several) - 1)
        chunks.append(np.flatnonzero(several[at] == part) + start)
    places = np.concatenate(chunks)
    _, first = np.unique(hashes[places], return_index=True)
    return np.delete(places, first)


def different(source: Source, count: int) -> list[Item]:
    """Return the first ``count`` different items of ``source``.

    Raises:
        InputError: ``count`` is more than half of the items that the split holds.
    """
    check_capacity(source, count)
    return [item for batch in select(source, count).blocks(source) for item in batch.items()]
