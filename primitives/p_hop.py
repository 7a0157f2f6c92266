"""p-hop induction: follow ``hops`` induction hops back through a sequence.

From the last token, one hop goes to the token after the most recent earlier occurrence of the
current token. Without an earlier occurrence it goes to the first token. The answer is the token
reached (Sanford et al. 2024; arXiv 2502.17416: alphabet 4, length 256, 16 or 32 hops). One hop is
what an induction head does::

    b d a c b a d b   2 hops: b (end) -> a (after the last b before) -> c    answer c

There are two samplings. ``uniform``, the default, draws any sequence without adjacent repeats (a
hop onto a repeated token would not move). Its hops are short, ``alphabet - 1`` tokens on average,
and never reach most of the sequence. ``planted``, as in arXiv 2502.17416, draws the hops first and
spreads them over the whole sequence (:mod:`.planted_hops`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, flag, one_of, whole
from .bits import Array, Partition
from .planted_hops import PlantedHops
from .task import Content, Task, later, register_primitive
from .text import Column, Table

SAMPLINGS = ("uniform", "planted")
_LETTERS = Table(ascii_lowercase)


@register_primitive
@dataclass(frozen=True)
class PHop(Task):
    """Parameters of p-hop induction.

    Args:
        hops: number of hops.
        length: tokens in the sequence.
        alphabet: number of different tokens, and of options.
        adjacent_repeats: let a token follow itself (uniform sampling only).
        sampling: ``uniform``, any sequence; ``planted``, hops spread over the whole sequence as in
            arXiv 2502.17416.
        control: ``shuffled`` renames every token, which changes the right answer. There is no
            ``cut``: a hop without an earlier occurrence is defined.

    >>> from growloop.primitives import generate
    >>> generate("p_hop", count=1, hops=1, length=16)[0].choices
    ['a', 'b', 'c', 'd']
    """

    hops: int = 16
    length: int = 256
    alphabet: int = 4
    adjacent_repeats: bool = False
    control: str = "none"
    sampling: str = later("uniform")

    name: ClassVar[str] = "p_hop"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "follow induction hops back through a sequence"

    def __post_init__(self) -> None:
        if self.control == "cut":
            raise InputError("p_hop cannot be cut: a hop that finds nothing is defined")
        one_of("control", self.control, ("none", "shuffled"))
        whole("hops", self.hops, 1, 10_000)
        whole("length", self.length, 4, 10_000)
        whole("alphabet", self.alphabet, 3, len(ascii_lowercase))
        flag("adjacent_repeats", self.adjacent_repeats)
        one_of("sampling", self.sampling, SAMPLINGS)
        if self.sampling == "planted":
            self._check_planted()
            return
        reach = (
            self.hops * (self.alphabet + 1) * 3 // 2
        )  # a hop spans alphabet - 1 on average, some more
        if reach > self.length:
            raise InputError(
                f"{self.hops} hops over an alphabet of {self.alphabet} need about {reach} tokens, "
                f"more than length {self.length}: most would end at the first token"
            )

    def _check_planted(self) -> None:
        if self.adjacent_repeats:
            raise InputError(
                "planted fillers may always repeat, and the letters of the hops never do: leave "
                "adjacent_repeats out"
            )
        if 2 * self.hops + 1 > self.length:
            raise InputError(
                f"{self.hops} planted hops need {2 * self.hops + 1} tokens, more than length "
                f"{self.length}"
            )
        _ = self.partition.tail  # refuses a space too small to divide

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        if self.sampling == "planted":
            return f"p_hop_{self.hops}_planted", ("hops", "sampling")
        return f"p_hop_{self.hops}", ("hops",)

    @property
    def _planted(self) -> PlantedHops | None:
        if self.sampling == "uniform":
            return None
        return PlantedHops(self.hops, self.length, self.alphabet)

    @property
    def template(self) -> str:
        return "p_hop"

    @property
    def options(self) -> int:
        return self.alphabet

    @cached_property
    def partition(self) -> Partition:
        if (planted := self._planted) is not None:
            return planted.partition
        others = self.alphabet - (not self.adjacent_repeats)
        return Partition((self.alphabet, *[others] * (self.length - 1)))

    @property
    def combinations(self) -> int:
        if (planted := self._planted) is not None:
            return planted.combinations
        others = self.alphabet - (not self.adjacent_repeats)
        return int(self.alphabet * others ** (self.length - 1))

    def ranges(self, split: str) -> list[int]:
        if (planted := self._planted) is not None:
            return planted.ranges(split)
        return self.partition.draw_ranges(split)

    def content(self, draws: Array, split: str) -> Content:
        if (planted := self._planted) is not None:
            tokens = planted.tokens(draws, split)
        else:
            tokens = self.partition.ranks(draws, [], split).astype(np.uint8)
            if not self.adjacent_repeats:  # a later rank counts the tokens but the one before
                for i in range(1, self.length):
                    tokens[i] += tokens[i] >= tokens[i - 1]
        original = self._follow(tokens)
        if self.control == "shuffled":
            tokens = (tokens + np.uint8(1)) % np.uint8(self.alphabet)
        answer = self._follow(tokens)
        slots = {f"token {i}": Column(row, _LETTERS) for i, row in enumerate(tokens)}
        slots["hops"] = Column(np.zeros(len(answer), np.uint8), Table([str(self.hops)]))
        choices = np.repeat(np.arange(self.alphabet, dtype=np.uint8)[:, None], len(answer), 1)
        controlled = self.control != "none"
        return Content(slots, _LETTERS, choices, answer, original if controlled else None)

    def _follow(self, tokens: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Return the token reached, ``(count,)``."""
        reached: NDArray[np.intp] = np.take_along_axis(tokens, self._hops(tokens)[-1:], axis=0)[0]
        return reached.astype(np.intp)

    def _hops(self, tokens: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Return the position that each hop lands on, ``(hops, count)``."""
        column = np.arange(tokens.shape[1])
        behind = np.zeros((self.alphabet, len(column)), np.uint16)  # position after the latest one
        hop = np.zeros(tokens.shape, np.uint16)
        for i in range(self.length):
            if i:
                behind[tokens[i - 1], column] = i
            hop[i] = behind[tokens[i], column]
        places = np.empty((self.hops, len(column)), np.intp)
        place: Any = self.length - 1
        for k in range(self.hops):
            place = places[k] = hop[place, column]
        return places

    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        tokens = [slot(f"token {i}") for i in range(self.length)]
        return {"tokens": tokens, "hops": slot("hops")}

    def splits_of(self, prompts: list[str]) -> list[str]:
        rows = [
            [ascii_lowercase.index(token) for token in prompt.split("\n")[1].split(" ")[:-1]]
            for prompt in prompts
        ]
        if (planted := self._planted) is not None:
            placed = np.ascontiguousarray(np.array(rows, np.uint8).T)
            return planted.splits_of(placed, self._hops(placed))
        tokens = np.array(rows, np.uint32).T
        ranks = tokens.copy()
        if not self.adjacent_repeats:
            ranks[1:] -= tokens[1:] > tokens[:-1]
        return self.partition.split_of(ranks, [])
