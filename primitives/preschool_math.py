"""Pre-school math: a signed sum of a few variables (after Saunshi et al. 2024; wording ours).

``terms`` variables are bound to small numbers, and one more to a signed sum of them::

    z=6, b=5, i=-z+b, i=?   -1
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from math import factorial, perm
from string import ascii_lowercase
from typing import Any, ClassVar

import numpy as np

from ..core.errors import InputError, one_of, whole
from .bits import Array, Partition, distinct, falling
from .distractors import OPTIONS, RANGES, REACH, near_misses
from .task import CONTROLS, Content, Task, register_primitive
from .text import Column, Table

LETTERS = len(ascii_lowercase)


@cache
def _numbers(low: int, high: int) -> Table:
    return Table([str(number) for number in range(low, high + 1)])


@cache
def _terms(first: bool) -> Table:
    """Make the table of terms: added names, then subtracted ones."""
    plus = "" if first else "+"
    return Table([plus + name for name in ascii_lowercase] + ["-" + n for n in ascii_lowercase])


_NAMES = Table(ascii_lowercase)


@register_primitive
@dataclass(frozen=True)
class PreschoolMath(Task):
    """Parameters of pre-school math.

    Args:
        terms: variables in the sum.
        low, high: range of their values, both included.
        control: ``cut`` binds the values to other names; ``shuffled`` passes each value to
            the next variable, which changes the sum unless their signs agree.

    >>> from growloop.primitives import generate
    >>> generate("preschool_math", count=1)[0].prompt.endswith("=?")
    True
    """

    terms: int = 2
    low: int = 0
    high: int = 9
    control: str = "none"

    name: ClassVar[str] = "preschool_math"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "evaluate a signed sum of variables"

    def __post_init__(self) -> None:
        one_of("control", self.control, CONTROLS)
        whole("terms", self.terms, 2, (LETTERS - 1) // 2)  # leaves as many names for the control
        whole("low", self.low, -1000, 1000)
        whole("high", self.high, -1000, 1000)
        if self.high <= self.low:
            raise InputError(f"high {self.high} must be above low {self.low}")
        _ = self.partition.tail  # refuses a space too small to divide

    @property
    def values(self) -> int:
        return self.high - self.low + 1

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        return self.name, ()

    @property
    def template(self) -> str:
        return "preschool_math"

    @property
    def options(self) -> int:
        return OPTIONS

    @cached_property
    def partition(self) -> Partition:
        return Partition((self.values,) * self.terms)

    @property
    def combinations(self) -> int:
        names = perm(LETTERS, self.terms + 1)
        return int(names * factorial(self.terms) * (2 * self.values) ** self.terms)

    def ranges(self, split: str) -> list[int]:
        values = self.partition.draw_ranges(split)
        names, order = falling(LETTERS, 2 * self.terms + 1), falling(self.terms, self.terms)
        return [*names, *values, *order, *order, *[2] * self.terms, *RANGES]

    def content(self, draws: Array, split: str) -> Content:
        terms, column = self.terms, np.arange(draws.shape[1])
        widths = [2 * terms + 1, len(self.partition.draw_ranges(split)), terms, terms, terms]
        picked, drawn, shown_order, sum_order, signs, misses = np.split(draws, np.cumsum(widths))
        letters = distinct(picked, LETTERS).astype(np.intp)
        names = np.sort(letters[:terms], axis=0)  # the canonical order of the variables
        query, others = letters[terms], letters[terms + 1 :]
        ranks = self.partition.ranks(drawn, [*names.astype(np.uint8)], split)
        values = ranks.astype(np.int64) + self.low
        shown_order = distinct(shown_order, terms).astype(np.intp)
        sum_order = distinct(sum_order, terms).astype(np.intp)
        weight = 1 - 2 * signs.astype(np.int64)
        reach = terms * max(abs(self.low), abs(self.high)) + REACH

        right = (weight * values[sum_order, column]).sum(axis=0)
        options, answer = near_misses(right, misses, -reach)
        original, left = answer, names
        if self.control == "cut":
            left = others
        elif self.control == "shuffled":
            values = np.roll(values, -1, axis=0)
            right = (weight * values[sum_order, column]).sum(axis=0)
            # the options stay, but one that is wrong both ways is replaced if the answer is missing
            spare = (original + 1) % OPTIONS
            missing = ~(options == right).any(axis=0)
            options[spare, column] = np.where(missing, right, options[spare, column])
            answer = (options == right).argmax(axis=0)

        table = _numbers(-reach - REACH, reach + REACH)
        zero = reach + REACH
        slots = {}
        for i, place in enumerate(shown_order):
            slots[f"name {i}"] = Column(left[place, column], _NAMES)
            slots[f"value {i}"] = Column(values[place, column] + zero, table)
        added = names[sum_order, column] + LETTERS * signs
        slots |= {f"term {i}": Column(row, _terms(i == 0)) for i, row in enumerate(added)}
        slots["query"] = Column(query, _NAMES)
        choices = (options + zero).astype(np.uint32)
        controlled = self.control != "none"
        return Content(slots, table, choices, answer, original if controlled else None)

    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        numbered = range(self.terms)
        return {
            "lines": [{"name": slot(f"name {i}"), "value": slot(f"value {i}")} for i in numbered],
            "terms": [slot(f"term {i}") for i in numbered],
            "query": slot("query"),
        }

    def splits_of(self, prompts: list[str]) -> list[str]:
        rows = [sorted(re.findall(r"\b([a-z])=(-?\d+),", prompt)) for prompt in prompts]
        names = np.array([[ord(n) - ord("a") for n, _ in row] for row in rows], np.uint8).T
        values = np.array([[int(v) for _, v in row] for row in rows], np.int64).T - self.low
        return self.partition.split_of(values.astype(np.uint32), [*names])
