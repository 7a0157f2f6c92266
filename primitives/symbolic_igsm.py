"""Symbolic i-GSM: evaluate a graph of sums modulo a number, 7 by default.

There are two samplings. ``layered``, the default and ours: ``width`` constants, then ``depth``
layers of ``width`` sums of earlier symbols, each with at least one symbol of the previous layer.
The query is in the last layer::

    E#I := 4. E#J := E#I. K#N := E#J + E#I. K#N?      8 mod 7 = 1

``graph``, after the description in arXiv 2502.17416: a random dependency graph with differences,
factors and constants anywhere (:mod:`.igsm_graph`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from math import comb, factorial, perm
from string import ascii_uppercase
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, one_of, whole
from .bits import Array, Partition, deal, distinct, falling, parts, unused
from .igsm_graph import TIMES, Problems, RandomGraph, causal_keys
from .task import CONTROLS, Content, Task, later, register_primitive
from .text import Column, Table

ORDERS = ("layered", "causal", "shuffled")
SAMPLINGS = ("layered", "graph")
NAMES = [f"{a}#{b}" for a, b in product(ascii_uppercase, repeat=2)]
MANY = 64  # names; beyond, a shuffle is faster than picking one by one

_NAME_TABLE = Table(NAMES)
_MORE_TABLE = Table(["", *(f" + {name}" for name in NAMES)])
_TERM_TABLES = (
    Table(["", *NAMES]),
    Table(["", *(f" + {name}" for name in NAMES), *(f" - {name}" for name in NAMES)]),
)


@cache
def _first_table(modulus: int) -> Table:
    """Make the table of first terms of a line: names, then constants."""
    return Table(NAMES + [str(number) for number in range(modulus)])


@register_primitive
@dataclass(frozen=True)
class SymbolicIGSM(Task):
    """Parameters of symbolic i-GSM.

    Args:
        depth: layers of sums above the constants; in a graph, levels of the hierarchy.
        width: symbols in a layer; in a graph, entities in a level.
        max_terms: most terms of a sum.
        modulus: results are taken modulo this, and are the options.
        order: ``layered``, layer by layer; ``causal``, shuffled with every symbol defined before
            its use; ``shuffled``, shuffled freely.
        control: ``cut`` gives the constants to other symbols, which nothing refers to;
            ``shuffled`` passes each constant to the next symbol. Not for a graph.
        sampling: ``layered``, sums of sums; ``graph``, a random graph with differences and factors
            as in arXiv 2502.17416, which needs order shuffled or causal.
        edges: in a graph, number of quantities, one line each.

    >>> from growloop.primitives import generate
    >>> generate("symbolic_igsm", count=1)[0].prompt.endswith("?")
    True
    """

    depth: int = 4
    width: int = 4
    max_terms: int = 3
    modulus: int = 7
    order: str = "layered"
    control: str = "none"
    sampling: str = later("layered")
    edges: int = later(16)

    name: ClassVar[str] = "symbolic_igsm"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "evaluate a graph of sums modulo a number"

    def __post_init__(self) -> None:
        one_of("order", self.order, ORDERS)
        one_of("control", self.control, CONTROLS)
        whole("depth", self.depth, 1, 300)
        whole("width", self.width, 2, 64)
        whole("max_terms", self.max_terms, 1, 8)
        whole("modulus", self.modulus, 2, 100)
        one_of("sampling", self.sampling, SAMPLINGS)
        if self.sampling == "graph":
            self._check_graph()
            return
        if self.edges != 16:
            raise InputError("edges are of a graph: give sampling graph, or leave edges out")
        if self.symbols + self.width > len(NAMES):  # some are left over for the control
            raise InputError(
                f"depth {self.depth} and width {self.width} need {self.symbols + self.width} "
                f"names, but there are {len(NAMES)}"
            )
        _ = self.partition.tail  # refuses a space too small to divide

    def _check_graph(self) -> None:
        """Refuse parameters that ``sampling="graph"`` does not support."""
        if self.order == "layered":
            raise InputError(
                "a graph has no layers to write line by line: give order shuffled (as in arXiv "
                "2502.17416) or causal"
            )
        if self.control != "none":
            raise InputError("a graph has no controls: leave control out, or give sampling layered")
        whole("depth", self.depth, 2, len(ascii_uppercase))
        if self.depth * self.width > len(ascii_uppercase):
            raise InputError(
                f"depth {self.depth} and width {self.width} need {self.depth * self.width} "
                f"letters, but there are {len(ascii_uppercase)}"
            )
        least = (self.depth - 1) * self.width
        whole("edges", self.edges, least, least * self.width)
        _ = self.partition.tail  # refuses a space too small to divide

    @property
    def _graph(self) -> RandomGraph | None:
        if self.sampling == "layered":
            return None
        return RandomGraph(self.depth, self.width, self.edges, self.max_terms, self.modulus)

    @property
    def symbols(self) -> int:
        return self.width * (self.depth + 1)

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        if self.sampling == "graph":
            ending = "" if self.order == "shuffled" else "_causal"
            return f"{self.name}_graph{ending}", ("sampling", "order")
        return self.name, ()

    @property
    def template(self) -> str:
        return "symbolic_igsm"

    @property
    def options(self) -> int:
        return self.modulus

    @cached_property
    def partition(self) -> Partition:
        if (graph := self._graph) is not None:
            return graph.partition
        return Partition((self.modulus,) * self.width)

    def _terms(self, layer: int) -> int:
        """Return the most terms of a sum in ``layer``."""
        return min(self.max_terms, layer * self.width)

    @property
    def combinations(self) -> int:
        if (graph := self._graph) is not None:
            return graph.combinations(self.order == "causal")
        width, total = self.width, self.modulus**self.width * self.width
        total *= comb(len(NAMES), width) * perm(len(NAMES) - width, self.symbols - width)
        for layer in range(1, self.depth + 1):
            below = layer * width - 1
            sums = sum(width * perm(below, more) for more in range(self._terms(layer)))
            total *= sums**width
        return int(total // factorial(width) ** self.depth)

    def _sizes(self, split: str) -> dict[str, list[int]]:
        """Return part -> ranges of its draws, in their order in the stream."""
        width = self.width
        terms: list[int] = []
        for layer in range(1, self.depth + 1):
            below, most = layer * width, self._terms(layer)
            terms += [most, width, *falling(below - 1, most - 1)] * width
        return {
            "names": falling(len(NAMES), self.symbols),
            "spare": [len(NAMES) - self.symbols],
            "values": self.partition.draw_ranges(split),
            "terms": terms,
            "query": [width],
            "keys": [2**32] * self.symbols,
        }

    def ranges(self, split: str) -> list[int]:
        if (graph := self._graph) is not None:
            return graph.ranges(split)
        return [size for sizes in self._sizes(split).values() for size in sizes]

    def content(self, draws: Array, split: str) -> Content:
        if (graph := self._graph) is not None:
            return self._graph_content(*graph.problems(draws, split))
        width, count = self.width, draws.shape[1]
        column = np.arange(count)
        drawn = parts(draws, self._sizes(split))
        names = (distinct if self.symbols <= MANY else deal)(drawn["names"], len(NAMES)).copy()
        names[:width] = np.sort(names[:width], axis=0)  # the canonical order of the constants
        constants = self.partition.ranks(drawn["values"], [*names[:width]], split)
        terms, amounts = self._sums(drawn["terms"], count)
        query = drawn["query"][0].astype(np.intp) + self.symbols - width

        def result(constants: Array) -> NDArray[np.intp]:
            values: NDArray[np.intp] = np.zeros((self.symbols, count), np.intp)
            values[:width] = constants
            for i in range(width, self.symbols):
                for k in range(self.max_terms):
                    values[i] += np.where(k < amounts[i], values[terms[i, k], column], 0)
                values[i] %= self.modulus
            queried: NDArray[np.intp] = values[query, column]
            return queried

        original = result(constants)
        if self.control == "shuffled":
            constants = np.roll(constants, -1, axis=0)
        answer = result(constants)

        left = names.copy()
        if self.control == "cut":
            free = len(NAMES) - self.symbols
            ranks = (drawn["spare"] + np.arange(width, dtype=np.uint32)[:, None]) % np.uint32(free)
            left[:width] = unused(names, ranks, len(NAMES))
        first = names[terms[:, 0], column]
        first[:width] = constants + len(NAMES)
        sides = [left, first]
        for k in range(1, self.max_terms):
            more = names[terms[:, k], column] + np.uint16(1)
            sides.append(np.where(k < amounts, more, np.uint16(0)))
        places = self._sort_keys(drawn["keys"], terms, amounts).argsort(axis=0, kind="stable")
        sides = [np.take_along_axis(side, places, axis=0) for side in sides]

        slots = {f"name {i}": Column(row, _NAME_TABLE) for i, row in enumerate(sides[0])}
        table = _first_table(self.modulus)
        slots |= {f"term {i} 0": Column(row, table) for i, row in enumerate(sides[1])}
        for k, side in enumerate(sides[2:], start=1):
            slots |= {f"term {i} {k}": Column(row, _MORE_TABLE) for i, row in enumerate(side)}
        slots["query"] = Column(names[query, column], _NAME_TABLE)
        slots["modulus"] = Column(np.zeros(count, np.uint8), Table([str(self.modulus)]))
        numbers = np.arange(self.modulus, dtype=np.uint16) + np.uint16(len(NAMES))
        choices = np.repeat(numbers[:, None], count, axis=1)
        controlled = self.control != "none"
        return Content(slots, table, choices, answer, original if controlled else None)

    def _graph_content(self, problems: Problems, keys: Array) -> Content:
        """Make the columns of graph problems, lines ordered by ``keys`` ``(edges, count)``."""
        count = keys.shape[1]
        if self.order == "causal":
            keys = causal_keys(keys, problems.terms, problems.amounts)
        places = keys.argsort(axis=0, kind="stable")
        numbers = [*map(str, range(self.modulus))]
        heads = ["", *numbers]
        for form in ("{} + ", "{} * ", "{} * ("):
            heads += [form.format(number) for number in numbers]
        many = (problems.heads == TIMES) & (problems.amounts > 1)
        group = np.where(many, TIMES + 1, problems.heads)  # NOTHING first, then a run a kind
        head = np.where(group == 0, 0, 1 + (group - 1) * self.modulus + problems.numbers)
        names = problems.parents * len(ascii_uppercase) + problems.children
        rows = [("name", names, _NAME_TABLE), ("head", head, Table(heads))]
        for k in range(self.max_terms):
            used = np.take_along_axis(names, problems.terms[:, k], axis=0) + 1
            used += np.where(problems.minus, len(NAMES), 0) if k == 1 else 0
            rows.append((f"term {k}", np.where(k < problems.amounts, used, 0), _TERM_TABLES[k > 0]))
        rows.append(("tail", many.astype(np.intp), Table(["", ")"])))
        slots: dict[str, Column] = {}
        for what, codes, table in rows:
            ordered = np.take_along_axis(codes.astype(np.uint16), places, axis=0)
            slots |= {f"{what} of {i}": Column(row, table) for i, row in enumerate(ordered)}
        slots["query"] = Column(names[-1].astype(np.uint16), _NAME_TABLE)
        slots["modulus"] = Column(np.zeros(count, np.uint8), Table([str(self.modulus)]))
        choices = np.repeat(np.arange(self.modulus, dtype=np.uint8)[:, None], count, axis=1)
        return Content(slots, Table(numbers), choices, problems.value(self.modulus))

    def _sums(self, draws: Array, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return terms ``(symbols, max_terms, count)`` and their numbers ``(symbols, count)``."""
        terms = np.zeros((self.symbols, self.max_terms, count), np.intp)
        amounts = np.zeros((self.symbols, count), np.intp)
        row = 0
        for i in range(self.width, self.symbols):
            layer = i // self.width
            most = self._terms(layer)
            amounts[i] = draws[row] + np.uint32(1)
            ranks = draws[row + 1 : row + 1 + most].copy()
            ranks[0] += np.uint32((layer - 1) * self.width)  # one term of the layer before
            terms[i, :most] = distinct(ranks, layer * self.width)
            row += 1 + most
        return terms, amounts

    def _sort_keys(
        self, keys: Array, terms: NDArray[np.intp], amounts: NDArray[np.intp]
    ) -> NDArray[np.uint64]:
        """Return the sort key of each line, ``(symbols, count)``."""
        keys = keys.astype(np.uint64)
        if self.order == "layered":
            layers = np.arange(self.symbols, dtype=np.uint64) // np.uint64(self.width)
            return keys + (layers << np.uint64(32))[:, None]
        return causal_keys(keys, terms, amounts) if self.order == "causal" else keys

    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        lines = []
        if self.sampling == "graph":
            pieces = ["head", *(f"term {k}" for k in range(self.max_terms)), "tail"]
            for i in range(self.edges):
                value = "".join(slot(f"{piece} of {i}") for piece in pieces)
                lines.append({"name": slot(f"name of {i}"), "value": value})
            return {"lines": lines, "query": slot("query"), "modulus": slot("modulus")}
        for i in range(self.symbols):
            value = "".join(slot(f"term {i} {k}") for k in range(self.max_terms))
            lines.append({"name": slot(f"name {i}"), "value": value})
        return {"lines": lines, "query": slot("query"), "modulus": slot("modulus")}

    def splits_of(self, prompts: list[str]) -> list[str]:
        if (graph := self._graph) is not None:
            return graph.splits_of(prompts)
        index = {name: i for i, name in enumerate(NAMES)}
        names, values = [], []
        for prompt in prompts:
            bound = re.findall(r"([A-Z]#[A-Z]) := (\d+)\.", prompt)
            constants = sorted((index[name], int(value)) for name, value in bound)
            names.append([name for name, _ in constants])
            values.append([value for _, value in constants])
        ranks = np.array(values, np.uint32).T
        return self.partition.split_of(ranks, [*np.array(names, np.uint16).T])
