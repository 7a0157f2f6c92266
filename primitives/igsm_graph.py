"""Symbolic i-GSM on a random graph, as arXiv 2502.17416 describes it after Ye et al. 2024.

A hierarchy of entities gets random edges from each level to the next. An edge is a quantity (how
many of one entity the other has), named after both. A quantity is a number, or a sum or difference
of other quantities, perhaps with a number added or multiplied::

    E#I := 4. J#P := H#J - E#I. H#J := E#I. I#N := 2 * (J#P + H#J + E#I). I#N?

The form of a line follows Ye et al.'s generator: a number alone; or up to ``max_terms`` other
quantities, two of them as a sum or a difference, more as a sum; half of these with a number added
to or multiplied with the result. Their generator builds the graph backwards from the question, so
that the question needs most of the lines; here each line first uses one that is not used yet.
Our own choices: all forms are equally frequent, and the query is the last line in dependency order,
which is never a number alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import factorial
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from .bits import Array, Partition, distinct, falling, parts

Integers = NDArray[np.intp]

NOTHING, NUMBER, PLUS, TIMES = range(4)
"""Forms of the number before the quantities of a line."""

NAME = re.compile("[A-Z]#[A-Z]")
LINE = re.compile(r"([A-Z]#[A-Z]) := (?:(\d+)(?: ([+*]) )?)?\(?([A-Z#+\- ]*)\)?")
_LETTERS = ascii_uppercase


def causal_keys(keys: Array, terms: Integers, amounts: Integers) -> NDArray[np.uint64]:
    """Return sort keys by which each line comes after the lines it uses.

    Args:
        keys: random, below 2**32, ``(lines, count)``.
        terms: earlier lines that a line uses, ``(lines, most, count)``.
        amounts: number of its terms in use, ``(lines, count)``.
    """
    ordered = keys.astype(np.uint64)
    column = np.arange(keys.shape[1])
    for i in range(len(ordered)):
        above = np.zeros(len(column), np.uint64)
        for k in range(terms.shape[1]):
            used = ordered[terms[i, k], column]
            above = np.maximum(above, np.where(k < amounts[i], used, np.uint64(0)))
        ordered[i] = above + ((ordered[i] * (np.uint64(2**32) - above)) >> np.uint64(32))
    return ordered


def _pick(draws: Integers, mask: NDArray[np.bool_]) -> Integers:
    """Pick one of the allowed rows of each column, or any row if none is allowed: ``(count,)``.

    Args:
        draws: random numbers below ``rows``, ``(count,)``.
        mask: allowed rows, ``(rows, count)``.
    """
    rows = len(mask)
    pool = mask | ~mask.any(axis=0)
    rank = draws * pool.sum(axis=0) // rows
    row: Integers = (pool.cumsum(axis=0) > rank).argmax(axis=0)
    return row


@dataclass(frozen=True)
class Problems:
    """Columns of problems, with lines in dependency order, ``(lines, count)`` each.

    Args:
        parents, children: entities that name a line, numbered through all levels.
        heads: form of the number before the quantities: NOTHING, NUMBER, PLUS or TIMES.
        numbers: that number, 0 for none.
        minus: whether the line is a difference.
        terms: lines whose quantities it uses, ``(lines, most, count)``.
        amounts: number of its terms in use.
    """

    parents: Integers
    children: Integers
    heads: Integers
    numbers: Integers
    minus: NDArray[np.bool_]
    terms: Integers
    amounts: Integers

    def value(self, modulus: int) -> Integers:
        """Compute the quantity of the last line, ``(count,)``."""
        column = np.arange(self.heads.shape[1])
        values = np.zeros_like(self.numbers)
        for i, (head, number) in enumerate(zip(self.heads, self.numbers, strict=True)):
            total = np.zeros_like(number)
            for k in range(self.terms.shape[1]):
                term = np.where(k < self.amounts[i], values[self.terms[i, k], column], 0)
                total += np.where(self.minus[i] & (k == 1), -term, term)
            total = np.where(head == TIMES, total * number, total + number)
            values[i] = total % modulus
        result: Integers = values[-1]
        return result


@dataclass(frozen=True)
class RandomGraph:
    """Sampler of problems.

    Args:
        levels, width: size of the hierarchy; every level has ``width`` entities.
        edges: edges of the hierarchy, and lines of a problem.
        max_terms: most quantities in a line.
        modulus: results are taken modulo this.
    """

    levels: int
    width: int
    edges: int
    max_terms: int
    modulus: int

    @cached_property
    def partition(self) -> Partition:
        """Partition by the letters of the query, and the number of the first number-only line."""
        return Partition((self.width, self.width, self.modulus))

    @property
    def below(self) -> int:
        """Number of entities that have a parent."""
        return (self.levels - 1) * self.width

    def combinations(self, ordered: bool) -> int:
        """Return the number of problems if all were as likely as the likeliest (a lower bound).

        The likeliest form of a line has probability 1/3; of the second and the last line 1/2, of
        the first 1 / ``modulus``. Shuffled orders of lines are equally likely.
        """
        total: int = self.modulus * 4 * 3 ** max(0, self.edges - 3)
        return total * (1 if ordered else factorial(self.edges))

    def _sizes(self, split: str) -> dict[str, list[int]]:
        """Return part -> ranges of its draws, in their order in the stream."""
        others = self.below * (self.width - 1)
        lines: list[int] = []
        for i in range(self.edges):
            forms = 2 * self.max_terms + (i < self.edges - 1)
            lines += [forms, self.modulus * (self.modulus - 1), 2, 2, max(1, i)]
            lines += falling(i - 1, min(i, self.max_terms) - 1)
        return {
            "parents": [self.width] * self.below,
            "more": falling(others, self.edges - self.below),
            "sequence": falling(self.edges, self.edges),
            "lines": lines,
            "letters": self.partition.draw_ranges(split),
            "keys": [2**32] * self.edges,
        }

    def ranges(self, split: str) -> list[int]:
        return [size for sizes in self._sizes(split).values() for size in sizes]

    def problems(self, draws: Array, split: str) -> tuple[Problems, Array]:
        """Make problems in a split, and random keys of their lines."""
        drawn = parts(draws, self._sizes(split))
        parents, children = self._hierarchy(drawn["parents"], drawn["more"])
        sequence = distinct(drawn["sequence"], self.edges).astype(np.intp)
        parents = np.take_along_axis(parents, sequence, axis=0)
        children = np.take_along_axis(children, sequence, axis=0)
        made = self._lines(parents, children, drawn["lines"])
        return self._named(made, drawn["letters"], split), drawn["keys"]

    def _hierarchy(self, first: Array, more: Array) -> tuple[Integers, Integers]:
        """Return edges ``(edges, count)``: one into each entity below the top, then others."""
        count = first.shape[1]
        children = np.repeat(np.arange(self.below)[:, None], count, axis=1)
        parents = first.astype(np.intp)
        if len(more):
            picks = distinct(more, self.below * (self.width - 1)).astype(np.intp)
            child, other = np.divmod(picks, self.width - 1)
            other += other >= np.take_along_axis(parents, child, axis=0)
            children = np.concatenate([children, child])
            parents = np.concatenate([parents, other])
        top = children // self.width * self.width  # the first entity of the level above
        return parents + top, children + self.width

    def _lines(self, parents: Integers, children: Integers, draws: Array) -> Problems:
        """Draw the right-hand side of each line: form, number, and the earlier lines it uses."""
        count = parents.shape[1]
        heads, numbers, amounts = (np.zeros((self.edges, count), np.intp) for _ in range(3))
        terms = np.zeros((self.edges, self.max_terms, count), np.intp)
        minus = np.zeros((self.edges, count), np.bool_)
        unused = np.ones((self.edges, count), np.bool_)
        column, row = np.arange(count), 0
        for i in range(self.edges):
            form, number, times, less, first = draws[row : row + 5].astype(np.intp)
            form += i == self.edges - 1
            most = min(i, self.max_terms)
            amounts[i] = np.minimum((form + 1) // 2, most)
            with_number = form % 2 == 0
            alone = amounts[i] == 0
            heads[i] = np.where(with_number, np.where(times == 1, TIMES, PLUS), NOTHING)
            heads[i] = np.where(alone, NUMBER, heads[i])
            factor, addend = 1 + number // self.modulus, number % self.modulus
            numbers[i] = np.where(heads[i] == TIMES, factor, addend)
            numbers[i] = np.where(heads[i] == NOTHING, 0, numbers[i])
            minus[i] = (amounts[i] == 2) & (less == 1)
            if most:
                terms[i, 0] = _pick(first, unused[:i])
                others = distinct(draws[row + 5 : row + 4 + most], i - 1).astype(np.intp)
                terms[i, 1:most] = others + (others >= terms[i, 0])
            for k in range(most):
                unused[terms[i, k], column] &= k >= amounts[i]
            row += 4 + max(1, most)
        return Problems(parents, children, heads, numbers, minus, terms, amounts)

    def _named(self, made: Problems, draws: Array, split: str) -> Problems:
        """Move problems into the split by renaming entities and changing the number of one line."""
        plain = self._turned(made, -made.parents[-1], -made.children[-1])
        codes = self._codes(plain)
        first = np.where(made.heads == NUMBER, codes, self.below * self.width).argmin(axis=0)
        column = np.arange(len(first))
        ranks = self.partition.ranks(draws, self._context(plain, first), split).astype(np.intp)
        named = self._turned(plain, ranks[0], ranks[1])
        named.numbers[first, column] = ranks[2]
        return named

    def _turned(self, made: Problems, by_parent: Integers, by_child: Integers) -> Problems:
        """Rotate the names in the two levels of the query, the last line."""
        level = made.children[-1] // self.width

        def turn(entities: Integers) -> Integers:
            own, place = np.divmod(entities, self.width)
            by = np.where(own == level, by_child, np.where(own == level - 1, by_parent, 0))
            turned: Integers = own * self.width + (place + by) % self.width
            return turned

        fields = made.__dict__ | {"parents": turn(made.parents), "children": turn(made.children)}
        return Problems(**fields | {"numbers": made.numbers.copy()})

    def _codes(self, made: Problems) -> Integers:
        """Return a number for the name of each line."""
        codes: Integers = (made.children - self.width) * self.width + made.parents % self.width
        return codes

    def _context(self, made: Problems, first: Integers) -> list[Array]:
        """Return all that identifies a problem except its partition ranks, in order of names."""
        codes = self._codes(made)
        column = np.arange(len(first))
        numbers = made.numbers.copy()
        numbers[first, column] = 0
        places = codes.argsort(axis=0)
        rows = [codes, made.heads, numbers, made.minus, codes == codes[-1]]
        for k in range(self.max_terms):
            used = np.take_along_axis(codes, made.terms[:, k], axis=0) + 1
            rows.append(np.where(k < made.amounts, used, 0))
        ordered = [np.take_along_axis(row.astype(np.uint64), places, axis=0) for row in rows]
        return [row for part in ordered for row in part]

    def splits_of(self, prompts: list[str]) -> list[str]:
        """Return the split of each prompt.

        Raises:
            ValueError: a prompt that is not such a problem.
        """
        made = self._read([prompt.split("\n")[1] for prompt in prompts])
        place = [entities[-1] % self.width for entities in (made.parents, made.children)]
        plain = self._turned(made, -place[0], -place[1])
        codes = self._codes(plain)
        first = np.where(made.heads == NUMBER, codes, self.below * self.width).argmin(axis=0)
        ranks = np.stack([*place, made.numbers[first, np.arange(len(first))]]).astype(np.uint32)
        return self.partition.split_of(ranks, self._context(plain, first))

    def _read(self, texts: list[str]) -> Problems:
        """Parse problems; the query becomes the last line, the others come in any order."""
        shape = (self.edges, len(texts))
        parents, children, heads, numbers, amounts = (np.zeros(shape, np.intp) for _ in range(5))
        terms = np.zeros((self.edges, self.max_terms, len(texts)), np.intp)
        minus = np.zeros(shape, np.bool_)
        kinds = {"+": PLUS, "*": TIMES, None: NUMBER}
        for column, text in enumerate(texts):
            *written, last = text.split(". ")
            lines = [match for line in written if (match := LINE.fullmatch(line))]
            lines.sort(key=lambda line: line[1] == last.removesuffix("?"))
            index = {line[1]: i for i, line in enumerate(lines)}
            if len(index) != self.edges or last.removesuffix("?") not in index:
                raise ValueError(f"not a problem of {self.edges} lines: {text!r}")
            for i, line in enumerate(lines):
                names = NAME.findall(line[4])
                parents[i, column], children[i, column] = map(_LETTERS.index, line[1].split("#"))
                heads[i, column] = kinds[line[3]] if line[2] else NOTHING
                numbers[i, column] = int(line[2] or 0)
                minus[i, column] = " - " in line[4]
                amounts[i, column] = len(names)
                terms[i, : len(names), column] = [index[name] for name in names]
        return Problems(parents, children, heads, numbers, minus, terms, amounts)
