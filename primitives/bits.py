"""Random numbers as a pure function of an item's coordinates.

An item owns a fixed run of Philox blocks. The key is a hash of (task, version, parameters, split,
seed); the counter is the item's index. Only raw bits are used, never numpy's distributions, so the
same coordinates give the same item on every platform and numpy version.

A draw from ``n`` alternatives is ``(32-bit lane * n) >> 32``; its bias is below ``n / 2**32``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, unknown

LANES_PER_BLOCK = 8  # one Philox-4x64 block is four 64-bit words
SPLITS = {"train": (0, 5), "validation": (5, 7), "test": (7, 9), "fewshot": (9, 10)}  # tenths
MIN_SHARES = 20  # least number of values of the split coordinate
FEW_HEADS = 1000  # combinations of the other ranks below which the coordinate is scattered

Array = NDArray[np.unsignedinteger]


def stream_key(*coordinates: object) -> NDArray[np.uint64]:
    """Hash JSON-able coordinates to a 128-bit Philox key, ``(2,)`` uint64.

    >>> stream_key("copying", 1, {}, "test", 0).shape
    (2,)
    """
    text = json.dumps(coordinates, sort_keys=True, separators=(",", ":"))
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], "<u8").astype(np.uint64)


def draw(
    key: NDArray[np.uint64], start: int, count: int, ranges: Sequence[int]
) -> NDArray[np.uint32]:
    """Draw the random numbers of items ``start .. start+count-1``, ``(len(ranges), count)``.

    Row ``j`` is uniform below ``ranges[j]``; column ``i`` belongs to item ``start + i``.

    >>> a = draw(stream_key("x"), 0, 100, [26, 5])
    >>> b = draw(stream_key("x"), 40, 2, [26, 5])
    >>> bool((a[:, 40:42] == b).all())
    True
    """
    blocks = -(-len(ranges) // LANES_PER_BLOCK)
    philox = np.random.Philox(key=key, counter=start * blocks)
    words = philox.random_raw(count * blocks * LANES_PER_BLOCK // 2).astype("<u8", copy=False)
    lanes = words.view("<u4").reshape(count, -1)[:, : len(ranges)].T
    bound = np.asarray(ranges, np.uint64)[:, None]
    scaled: NDArray[np.uint64] = np.multiply(lanes, bound, dtype=np.uint64, order="C")
    scaled >>= np.uint64(32)
    return scaled.astype(np.uint32)


def parts(draws: Array, sizes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Split draws into named parts, given the ranges of each part in order.

    Args:
        draws: ``(lanes, count)``.
        sizes: name -> ranges of the part's draws; only their number counts.

    >>> {name: part.shape for name, part in
    ...  parts(np.zeros((3, 100)), {"names": [26, 25], "values": [9]}).items()}
    {'names': (2, 100), 'values': (1, 100)}
    """
    named, start = {}, 0
    for name, ranges in sizes.items():
        named[name] = draws[start : start + len(ranges)]
        start += len(ranges)
    return named


def smallest(bound: int) -> type[np.unsignedinteger]:
    """Return the narrowest unsigned type that holds ``0..bound``; narrow columns are fast."""
    return np.uint8 if bound < 2**8 else np.uint16 if bound < 2**16 else np.uint32


def falling(population: int, picks: int) -> list[int]:
    """Return the ranges of draws that pick ``picks`` of ``population`` without replacement.

    >>> falling(10, 3)
    [10, 9, 8]
    """
    return [population - j for j in range(picks)]


def distinct(ranks: Array, population: int) -> Array:
    """Turn ranks ``(k, count)`` below :func:`falling` ranges into ``k`` different picks a column.

    Pick ``j`` is the ``ranks[j]``-th number not picked before. Ranks and ordered samples correspond
    one to one, so uniform ranks give uniform samples. Takes ``k**2`` array operations.

    >>> distinct(np.array([[1], [1], [0]], np.uint32), 4).ravel().tolist()
    [1, 2, 0]
    """
    picks = ranks.astype(smallest(population))
    used: list[Array] = []  # ascending, column by column
    for row in picks:
        for earlier in used:
            row += row >= earlier
        carry = row
        for i, earlier in enumerate(used):
            used[i], carry = np.minimum(earlier, carry), np.maximum(earlier, carry)
        used.append(carry)
    return picks


def deal(ranks: Array, population: int) -> Array:
    """Make different picks like :func:`distinct`, by a Fisher-Yates shuffle, for very many picks.

    The picks come in another order than from :func:`distinct`. Takes ``population * count`` memory.
    """
    columns = np.arange(ranks.shape[1])
    pool = np.repeat(np.arange(population, dtype=smallest(population))[:, None], len(columns), 1)
    for j, row in enumerate(ranks):
        here = row.astype(np.intp) + j
        pool[here, columns], pool[j] = pool[j].copy(), pool[here, columns]
    return pool[: len(ranks)]


def unused(picks: Array, ranks: Array, population: int) -> Array:
    """Return the ``ranks[j]``-th number that no row of ``picks`` holds, for each row ``j``.

    Args:
        picks: different numbers below ``population``, ``(k, count)``.
        ranks: ``(rows, count)``, each below ``population - k``.

    >>> unused(np.array([[1], [2]], np.uint8), np.array([[0], [1]], np.uint8), 5).ravel().tolist()
    [0, 3]
    """
    numbers = ranks.astype(smallest(population))
    for used in np.sort(picks, axis=0):
        numbers += numbers >= used
    return numbers


def ranks_of(picks: Array) -> Array:
    """Return the ranks from which :func:`distinct` makes these picks, ``(k, count)``.

    >>> ranks_of(np.array([[1], [2], [0]], np.uint8)).ravel().tolist()
    [1, 1, 0]
    """
    ranks = picks.copy()
    for j in range(1, len(picks)):
        ranks[j] -= (picks[:j] < picks[j]).sum(axis=0, dtype=picks.dtype)
    return ranks


def mix(rows: Sequence[Array] | Array, count: int) -> NDArray[np.uint64]:
    """Compute a 64-bit hash of each column of ``rows``, ``(count,)``."""
    state = np.full(count, 0x9E3779B97F4A7C15, np.uint64)
    for row in rows:
        state ^= row
        state *= np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(29)
    state *= np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(32))


@dataclass(frozen=True)
class Partition:
    """Partition of the space of rank tuples into disjoint splits, without rejection sampling.

    The last few ranks form one coordinate ``x`` below ``size``. A split owns the interval of
    ``x - hash(the other ranks, context) mod size`` that :data:`SPLITS` gives it. Equal tuples thus
    belong to the same split whatever the seed, and within a split all tuples are equally likely.
    Since the hash is unpredictable, no single rank reveals the split.

    Args:
        ranges: range of each rank of a tuple.

    >>> partition = Partition((100, 1000))
    >>> ranks = partition.ranks(np.array([[7], [0]], np.uint32), [], "test")
    >>> partition.split_of(ranks, [])
    ['test']
    """

    ranges: tuple[int, ...]

    @cached_property
    def tail(self) -> int:
        """Number of last ranks that form the coordinate."""
        for length in range(1, len(self.ranges) + 1):
            if prod(self.ranges[-length:]) >= MIN_SHARES:
                return length
        raise InputError(
            f"too small a space: only {prod(self.ranges)} combinations of values, which cannot "
            f"be divided into {len(SPLITS)} splits (at least {MIN_SHARES} are needed): allow more"
        )

    @property
    def size(self) -> int:
        """Number of values of the coordinate ``x``."""
        return prod(self.ranges[-self.tail :])

    @cached_property
    def stride(self) -> int:
        """Multiplier of the coordinate, modulo ``size``.

        It is 1 if there are many combinations of other ranks to hash. Otherwise an interval would
        show in the ranks themselves; a stride coprime to ``size`` scatters it over all values.
        """
        if prod(self.ranges[: -self.tail]) >= FEW_HEADS:
            return 1
        stride = round(self.size * 0.618) | 1
        while gcd(stride, self.size) > 1:
            stride += 2
        return stride

    def interval(self, split: str) -> tuple[int, int]:
        """Return the first and past-last value of the coordinate that ``split`` owns."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        low, high = SPLITS[split]
        return self.size * low // 10, self.size * high // 10

    def share(self, total: int, split: str) -> int:
        """Return how many of ``total`` items belong to ``split``."""
        low, high = self.interval(split)
        return total * (high - low) // self.size

    def draw_ranges(self, split: str) -> list[int]:
        """Return the ranges of the draws for :meth:`ranks`: other ranks, then the interval."""
        low, high = self.interval(split)
        return [*self.ranges[: -self.tail], high - low]

    def _shift(self, head: Array, context: Sequence[Array], count: int) -> NDArray[np.uint64]:
        hashed = mix([*head, *context], count) >> np.uint64(32)
        return (hashed * np.uint64(self.size)) >> np.uint64(32)

    def ranks(self, draws: Array, context: Sequence[Array], split: str) -> Array:
        """Map draws below :meth:`draw_ranges` to ranks in ``split``, ``(len(ranges), count)``."""
        head, last = draws[:-1], draws[-1]
        offset = np.uint64(self.interval(split)[0])
        x = (last + offset + self._shift(head, context, len(last))) % np.uint64(self.size)
        x = x * np.uint64(self.stride) % np.uint64(self.size)
        rows = []
        for bound in self.ranges[-self.tail :]:
            rows.append((x % np.uint64(bound)).astype(draws.dtype))
            x //= np.uint64(bound)
        return np.concatenate([head, np.stack(rows)])

    def split_of(self, ranks: Array, context: Sequence[Array]) -> list[str]:
        """Return the split of each column of ``ranks``."""
        count = ranks.shape[1]
        head = ranks[: -self.tail]
        x = np.zeros(count, np.uint64)
        for row, bound in zip(ranks[::-1], self.ranges[: -self.tail - 1 : -1], strict=False):
            x = x * np.uint64(bound) + row
        size = np.uint64(self.size)
        x = x * np.uint64(pow(self.stride, -1, self.size)) % size
        own = (x + size - self._shift(head, context, count)) % size
        starts = [self.interval(split)[0] for split in SPLITS]
        names = list(SPLITS)
        return [names[i - 1] for i in np.searchsorted(starts, own, side="right")]
