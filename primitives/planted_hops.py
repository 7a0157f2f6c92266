"""p-hop sequences with planted hops, as arXiv 2502.17416 samples them.

First the letters of the hops are drawn. Then a pair of neighbouring letters (matched letter, next
letter) is placed for each hop. Then the fillers are drawn so that no hop lands elsewhere. With two
hops::

    . . a c . . . b a . b     b (end) -> a -> c; one pair per hop, dots are fillers

Fillers between a pair and the position that hops to it are any letter but the matched one; fillers
before the last pair are any letter. Consecutive letters of the hops differ, else the hop would not
move.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import NDArray

from .bits import Array, Partition, distinct, falling, parts

Tokens = NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """Role of each position of some sequences, ``(length, count)`` each.

    Args:
        starts, ends: whether the position is the first, or the second, of a pair.
        passed: number of pairs to its right: the hops that come before those that reach it.
    """

    starts: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    passed: NDArray[np.intp]

    @classmethod
    def of(cls, places: NDArray[np.intp], length: int) -> Layout:
        """Make the layout from the first position of each pair, ``(hops, count)``."""
        starts = np.zeros((length, places.shape[1]), np.bool_)
        starts[places, np.arange(places.shape[1])] = True
        ends = np.roll(starts, 1, axis=0)
        right = starts[::-1].cumsum(axis=0, dtype=np.intp)[::-1]
        return cls(starts, ends, right - starts)


@dataclass(frozen=True)
class PlantedHops:
    """Sampler of sequences with planted hops.

    Args:
        hops: number of hops.
        length: tokens in a sequence.
        alphabet: number of different tokens.
    """

    hops: int
    length: int
    alphabet: int

    @property
    def fillers(self) -> int:
        """Number of positions that are in no pair, without the last one."""
        return self.length - 1 - 2 * self.hops

    @cached_property
    def partition(self) -> Partition:
        """Partition by the letters of the hops."""
        return Partition((self.alphabet, *[self.alphabet - 1] * self.hops))

    @property
    def combinations(self) -> int:
        """Number of sequences if all were as likely as the likeliest (a lower bound)."""
        places = comb(self.hops + self.fillers, self.hops)
        return int(places * self.alphabet * (self.alphabet - 1) ** (self.hops + self.fillers))

    def _sizes(self, split: str) -> dict[str, list[int]]:
        return {
            "places": falling(self.hops + self.fillers, self.hops),
            # a multiple of both ranges: any letter, or any but one
            "fillers": [self.alphabet * (self.alphabet - 1)] * self.fillers,
            "letters": self.partition.draw_ranges(split),
        }

    def ranges(self, split: str) -> list[int]:
        return [size for sizes in self._sizes(split).values() for size in sizes]

    def tokens(self, draws: Array, split: str) -> Tokens:
        """Make sequences ``(length, count)`` from draws below :meth:`ranges`."""
        drawn = parts(draws, self._sizes(split))
        slots = np.sort(distinct(drawn["places"], self.hops + self.fillers), axis=0)
        places = slots.astype(np.intp) + np.arange(self.hops)[:, None]
        layout = Layout.of(places, self.length)
        codes = self._codes(drawn["fillers"], layout)
        ranks = self.partition.ranks(drawn["letters"], [*codes[:-1]], split)
        letters = ranks.astype(np.uint8)
        for k in range(1, self.hops + 1):  # a later rank counts the letters but the one before
            letters[k] += letters[k] >= letters[k - 1]
        sought = np.take_along_axis(letters, layout.passed, axis=0)
        tokens = codes + ((codes >= sought) & (layout.passed < self.hops))
        tokens = np.where(layout.starts, sought, tokens)
        landed = np.take_along_axis(letters, np.minimum(layout.passed + 1, self.hops), axis=0)
        tokens = np.where(layout.ends, landed, tokens)
        tokens[-1] = letters[0]
        sequences: Tokens = tokens.astype(np.uint8)
        return sequences

    def _codes(self, fillers: Array, layout: Layout) -> Tokens:
        """Encode all but the letters of hops, ``(length, count)``: pair positions, filler ranks."""
        filler = ~(layout.starts | layout.ends)
        filler[-1] = False
        number = np.maximum(filler.cumsum(axis=0, dtype=np.intp) - 1, 0)
        width = np.uint32(self.alphabet)
        if self.fillers:
            raw = np.take_along_axis(fillers, np.minimum(number, self.fillers - 1), axis=0)
            codes = np.where(layout.passed == self.hops, raw % width, raw // width)
        else:
            codes = np.zeros(filler.shape, np.uint32)
        codes = np.where(layout.starts, width, np.where(layout.ends, width + np.uint32(1), codes))
        codes[-1] = 0
        encoded: Tokens = codes.astype(np.uint8)
        return encoded

    def splits_of(self, tokens: Tokens, hops: NDArray[np.intp]) -> list[str]:
        """Return the split of each sequence.

        Args:
            tokens: ``(length, count)``.
            hops: position that each hop lands on, ``(hops, count)``.
        """
        layout = Layout.of(hops - 1, self.length)
        letters = np.concatenate([tokens[-1:], np.take_along_axis(tokens, hops, axis=0)])
        sought = np.take_along_axis(letters, layout.passed, axis=0)
        codes = tokens - ((tokens > sought) & (layout.passed < self.hops))
        codes = np.where(layout.starts, self.alphabet, codes)
        codes = np.where(layout.ends, self.alphabet + 1, codes).astype(np.uint8)
        ranks = letters.astype(np.uint32)
        ranks[1:] -= letters[1:] > letters[:-1]
        return self.partition.split_of(ranks, [*codes[:-1]])
