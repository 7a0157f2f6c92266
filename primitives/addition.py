"""n-ary addition: the sum of several numbers (arXiv 2502.17416).

``operands`` numbers of ``digits`` digits, with leading zeros; the options are the sum and four near
misses::

    315+120+045+824=   1304
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np

from ..core.errors import InputError, whole
from .bits import Array, Partition, smallest
from .distractors import OPTIONS, RANGES, REACH, near_misses
from .task import Content, Task, register_primitive
from .text import Column, Table


@cache
def _operands(digits: int) -> Table:
    return Table([str(number).zfill(digits) for number in range(10**digits)])


@cache
def _sums(highest: int) -> Table:
    return Table([str(number) for number in range(highest + 1)])


@register_primitive
@dataclass(frozen=True)
class Addition(Task):
    """Parameters of n-ary addition.

    Args:
        operands: number of summands; the literature trains on 2, 4, 8, 16 and 32.
        digits: digits of each number.

    >>> from growloop.primitives import generate
    >>> item = generate("addition", count=1, operands=2)[0]
    >>> sum(map(int, item.prompt[:-1].split("+"))) == int(item.target)
    True
    """

    operands: int = 4
    digits: int = 3
    control: str = "none"

    name: ClassVar[str] = "addition"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "add several numbers"
    delimiter: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.control != "none":
            raise InputError("addition has no chain to control: control must be 'none'")
        whole("operands", self.operands, 2, 64)
        whole("digits", self.digits, 1, 4)

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        return f"addition_{self.operands}", ("operands",)

    @property
    def template(self) -> str:
        return "addition"

    @property
    def options(self) -> int:
        return OPTIONS

    @cached_property
    def partition(self) -> Partition:
        return Partition((10**self.digits,) * self.operands)

    @property
    def combinations(self) -> int:
        return int(10 ** (self.digits * self.operands))

    def ranges(self, split: str) -> list[int]:
        return [*self.partition.draw_ranges(split), *RANGES]

    def content(self, draws: Array, split: str) -> Content:
        numbers = self.partition.ranks(draws[: -len(RANGES)], [], split)
        options, answer = near_misses(numbers.sum(axis=0, dtype=np.int64), draws[-len(RANGES) :], 0)
        highest = self.operands * (10**self.digits - 1) + REACH
        table = _operands(self.digits)
        slots = {f"operand {i}": Column(row, table) for i, row in enumerate(numbers)}
        return Content(slots, _sums(highest), options.astype(smallest(highest)), answer)

    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        return {"operands": [slot(f"operand {i}") for i in range(self.operands)]}

    def splits_of(self, prompts: list[str]) -> list[str]:
        numbers = [[int(number) for number in prompt[:-1].split("+")] for prompt in prompts]
        return self.partition.split_of(np.array(numbers, np.uint32).T, [])
