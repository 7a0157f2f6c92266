"""Variable assignment: resolve a name through a chain of aliases.

``chains`` names are bound to integers, then each of ``depth`` layers adds one alias per chain. The
query is a name of the last layer; the options are the base values (Saunshi et al. 2024;
arXiv 2602.16490, App. I.1)::

    o=2 k=23 t=13 a=1 e=9   v=k c=e s=o y=t r=a   y=?      depth 1, answer 13

Chains are ordered by their base names, so that the content of a prompt, not the order of its lines,
decides its split.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from math import comb, factorial, perm, prod
from string import ascii_lowercase
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, flag, one_of, whole
from .bits import Array, Partition, deal, distinct, falling, parts, ranks_of, smallest, unused
from .task import CONTROLS, Content, Task, register_primitive
from .text import Column, Table

STYLES = ("basic", "math", "code")
ORDERS = ("layered", "causal", "shuffled")
MAX_CHAINS = 64
MAX_VALUES = 10_000
MANY = 64  # names; beyond, a shuffle is faster than picking one by one
# No name may be a word of Python: the code style is a program. A frozen list, for ever.
RESERVED = frozenset(["as", "do", "if", "in", "is", "or", "and", "def", "del", "for", "not", "try"])


@cache
def _names(length: int) -> list[str]:
    """Return all names of ``length`` letters, ascending."""
    names = ("".join(letters) for letters in product(ascii_lowercase, repeat=length))
    return [name for name in names if name not in RESERVED]


@cache
def _table(length: int, low: int, high: int) -> Table:
    """Make the table of names, then values, for either side of a line."""
    return Table(_names(length) + [str(value) for value in range(low, high + 1)])


@register_primitive
@dataclass(frozen=True)
class VariableAssignment(Task):
    """Parameters of variable assignment.

    Args:
        style: basic (``o=23``), math (the same, as equations) or code (``o = 23``).
        depth: alias layers between the query and its value, 0 or more.
        chains: number of base bindings, and of options.
        low, high: range of the values, both included.
        distinct_values: no two base names share a value; otherwise they may, and absent values
            complete the options.
        order: ``layered``, as in the paper; ``causal``, lines shuffled with every name bound
            before its use; ``shuffled``, lines shuffled freely.
        distractors: further aliases, of any name, that nothing refers to.
        name_length: letters per name; by default the fewest that suffice.
        control: ``cut`` binds the base values to other names, so that no value leads to the
            query; ``shuffled`` passes each value to another chain, which changes the right
            answer. Nothing else changes.

    >>> from growloop.primitives import generate
    >>> item = generate("variable_assignment", count=1, style="basic", depth=0)[0]
    >>> item.target in item.choices
    True
    """

    style: str = "basic"
    depth: int = 0
    chains: int = 5
    low: int = 1
    high: int = 25
    distinct_values: bool = True
    order: str = "layered"
    distractors: int = 0
    name_length: int | None = None
    control: str = "none"

    name: ClassVar[str] = "variable_assignment"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "resolve a variable through a chain of assignments"

    def __post_init__(self) -> None:
        one_of("style", self.style, STYLES)
        one_of("order", self.order, ORDERS)
        one_of("control", self.control, CONTROLS)
        flag("distinct_values", self.distinct_values)
        whole("depth", self.depth, 0, 10**6)
        whole("chains", self.chains, 2, MAX_CHAINS)
        whole("distractors", self.distractors, 0, 10**4)
        whole("low", self.low, -(10**6), 10**6)
        whole("high", self.high, self.low, min(10**6, self.low + MAX_VALUES - 1))
        if self.values < self.chains:
            raise InputError(
                f"{self.chains} chains need at least {self.chains} values, but "
                f"{self.low}..{self.high} holds {self.values}"
            )
        if self.control == "cut" and not self.distinct_values:
            raise InputError("control 'cut' needs distinct_values: else the value still shows")
        if self.name_length is None:
            lengths = [n for n in (1, 2, 3) if len(_names(n)) > self.name_count] or [3]
            object.__setattr__(self, "name_length", lengths[0])
        length = whole("name_length", self.name_length, 1, 3)
        needed = self.name_count + (self.chains if self.control == "cut" else 0)
        if needed > self._population:
            raise InputError(
                f"depth {self.depth} with {self.chains} chains, {self.distractors} distractors "
                f"and control {self.control} needs {needed:,} names, but there are "
                f"{self._population:,} of {length} letter{'s' * (length > 1)}"
            )
        _ = self.partition.tail  # refuses a space too small to divide

    @property
    def values(self) -> int:
        return self.high - self.low + 1

    @property
    def name_count(self) -> int:
        return self.chains * (self.depth + 1) + self.distractors

    @property
    def lines(self) -> int:
        return self.name_count

    @property
    def _population(self) -> int:
        assert self.name_length is not None  # set above
        return len(_names(self.name_length))

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        return f"{self.name}_{self.style}_d{self.depth}", ("style", "depth")

    @property
    def template(self) -> str:
        return f"variable_assignment_{self.style}"

    @property
    def options(self) -> int:
        return self.chains

    @cached_property
    def partition(self) -> Partition:
        if self.distinct_values:
            return Partition(tuple(falling(self.values, self.chains)))
        return Partition((self.values,) * self.chains)

    @property
    def combinations(self) -> int:
        c, lines = self.chains, self.lines
        aliases = perm(self._population - c, self.name_count - c)
        parents: int = (c * (self.depth + 1)) ** self.distractors
        # c chains without an order, distractors likewise, one of c queries
        stated = comb(self._population, c) * prod(self.partition.ranges) * aliases * parents * c
        stated //= factorial(self.distractors)
        if self.order != "layered":  # a distractor may look like a link of a chain
            stated //= (self.distractors + 1) ** c
        orders: int
        if self.order == "layered":
            orders = factorial(c) ** (self.depth + 1) * factorial(self.distractors)
        elif self.order == "shuffled":
            orders = factorial(lines)
        else:  # those that keep each chain ascending; distractors are left out of account
            orders = factorial(lines - self.distractors) // factorial(self.depth + 1) ** c
        return stated * orders

    def _sizes(self, split: str) -> dict[str, list[int]]:
        """Return part -> ranges of its draws, in their order in the stream."""
        c, names = self.chains, self.name_count
        layered = self.order == "layered"
        return {
            "names": falling(self._population, names),
            "values": self.partition.draw_ranges(split),
            "orders": falling(c, c) * (self.depth + 1) if layered else [],
            "query": [c],
            "parents": [c * (self.depth + 1)] * self.distractors,
            "keys": [] if layered else [2**32] * self.lines,
            "spare": [max(1, self._population - names)],
            "filler": [] if self.distinct_values else [self.values],
        }

    def ranges(self, split: str) -> list[int]:
        return [size for sizes in self._sizes(split).values() for size in sizes]

    def content(self, draws: Array, split: str) -> Content:
        c, depth, count = self.chains, self.depth, draws.shape[1]
        drawn = parts(draws, self._sizes(split))
        pick = distinct if self.name_count <= MANY else deal
        picks = pick(drawn["names"], self._population)
        base = np.sort(picks[:c], axis=0)  # ascending: the canonical order of the chains
        names = np.concatenate([base, picks[c : c * (depth + 1)]]).reshape(depth + 1, c, count)
        extra = picks[c * (depth + 1) :]

        ranks = self.partition.ranks(drawn["values"], [*base], split)
        query = drawn["query"][0].astype(np.intp)
        column = np.arange(count)
        if self.distinct_values:
            values = options = distinct(ranks, self.values)
            answer = query
        else:
            values = ranks
            options = self._options(values, drawn["filler"][0])
            answer = (options == values[query, column]).argmax(axis=0)
        original = answer
        if self.control == "shuffled":
            values = np.roll(values, -1, axis=0)  # chain j shows the value of chain j + 1
            answer = (options == values[query, column]).argmax(axis=0)

        # codes of one table: names first, then values
        code = smallest(self._population + self.values)
        displayed = names.astype(code)
        right = np.concatenate([values.astype(code)[None] + code(self._population), displayed[:-1]])
        if self.control == "cut":
            free = self._population - self.name_count
            ranks = (drawn["spare"] + np.arange(c, dtype=np.uint32)[:, None]) % np.uint32(free)
            displayed = displayed.copy()
            displayed[0] = unused(picks, ranks, self._population)
        if self.order == "layered":
            orders = drawn["orders"].reshape(depth + 1, c, count).swapaxes(0, 1)
            order = distinct(orders.reshape(c, -1), c).reshape(c, depth + 1, count).swapaxes(0, 1)
            # place in the flattened (depth + 1, c, count) arrays
            at = order.astype(np.intp) * count + column
            at += (np.arange(depth + 1) * (c * count))[:, None, None]
            left, right = displayed.ravel().take(at), right.ravel().take(at)
        else:
            left = displayed
        lines = [left.reshape(-1, count), right.reshape(-1, count)]
        if self.distractors:
            parent = drawn["parents"].astype(np.intp)
            lines[0] = np.concatenate([lines[0], extra.astype(code)])
            aliased = names.astype(code).reshape(-1, count)[parent, column]
            lines[1] = np.concatenate([lines[1], aliased])
        if self.order != "layered":
            keys = self._sort_keys(drawn["keys"], drawn["parents"].astype(np.intp))
            places = keys.argsort(axis=0, kind="stable")
            lines = [np.take_along_axis(side, places, axis=0) for side in lines]

        table = _table(self.name_length or 1, self.low, self.high)
        slots = {f"name {i}": Column(row, table) for i, row in enumerate(lines[0])}
        slots |= {f"value {i}": Column(row, table) for i, row in enumerate(lines[1])}
        slots["query"] = Column(names[depth, query, column], table)
        choices = options.astype(code) + code(self._population)
        controlled = self.control != "none"
        return Content(slots, table, choices, answer, original if controlled else None)

    def _options(self, values: Array, start: Array) -> Array:
        """Return ``chains`` different values that include the item's, ``(chains, count)``."""
        count = values.shape[1]
        absent = np.ones((self.values, count), np.uint32)
        absent[values, np.arange(count)] = 0
        turn = (np.arange(self.values, dtype=np.uint32)[:, None] - start) % np.uint32(self.values)
        first = (absent * np.uint32(self.values) + turn).argsort(axis=0, kind="stable")
        # sorted, so that the index of an option does not reveal whether it is in the item
        return np.sort(first[: self.chains], axis=0).astype(values.dtype)

    def _sort_keys(self, keys: Array, parents: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Return the sort key of each line, ``(lines, count)``."""
        keys = keys.astype(np.uint64)
        if self.order == "shuffled":
            return keys
        count, chained = keys.shape[1], self.chains * (self.depth + 1)
        ladder = np.sort(keys[:chained].reshape(self.depth + 1, self.chains, count), axis=0)
        ladder = ladder.reshape(chained, count)
        above = ladder[parents, np.arange(count)]  # a distractor comes after what it aliases
        room = np.uint64(2**32) - above
        late = above + ((keys[chained:] * room) >> np.uint64(32))
        return np.concatenate([ladder, late])

    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        lines = [
            {"name": slot(f"name {i}"), "value": slot(f"value {i}")} for i in range(self.lines)
        ]
        return {"lines": lines, "query": slot("query"), "depth": self.depth}

    def splits_of(self, prompts: list[str]) -> list[str]:
        index = {name: i for i, name in enumerate(_names(self.name_length or 1))}
        names, values = [], []
        for prompt in prompts:
            bound = re.findall(r"(?m)^([a-z]+) ?= ?(-?\d+)$", prompt)
            base = sorted((index[name], int(value) - self.low) for name, value in bound)
            names.append([name for name, _ in base])
            values.append([value for _, value in base])
        picks = np.array(values, np.int64).T.astype(smallest(self.values))
        ranks = ranks_of(picks) if self.distinct_values else picks
        code = smallest(self._population)
        return self.partition.split_of(ranks, [*np.array(names, np.int64).T.astype(code)])
