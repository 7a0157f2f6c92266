"""Lessons: synthetic pre-training tasks for laptop-scale studies, worded unlike the evaluation.

Small models learn the reasoning primitives from them in minutes, by a curriculum
(:mod:`.curriculum`). Names and values are items of ``primitives`` from the ``train`` split, so no
test item is trained on. The wording is drawn anew for every 8 rows: random words as headings and
questions, random signs and line ends. No evaluation template is among them, so a model has to use
the structure.

- ``repeats``: random letters and numbers, then a part of them again as targets.
- ``copying-words``, ``copying-letters``: words, then several times a segment of them, some signs,
  and the next word as target.
- ``recall``: many names and values, then many of the names again, with their values as targets.
- ``assignment-D``: chains of aliases of depth up to D, then a few names with their values as
  targets. The names are of different chains, so neither repetition nor elimination helps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain
from string import ascii_lowercase
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ....core.errors import InputError, unknown
from ....primitives import Batch, Copying, Source, Task, VariableAssignment
from ....primitives.bits import distinct, draw, falling, stream_key
from .batches import IGNORED
from .symbols import CONTINUED, ids, spelt, words

Tokens = NDArray[np.int64]
Rows = tuple[Tokens, Tokens]
Choice = TypeVar("Choice")
GROUP = 8  # rows that share a wording
SIGNS = list("=:-.,;>?|~#*")
PAIRS = (4, 12)  # least and most pairs of recall
QUESTIONS = 16  # questions of recall
SEGMENTS = 3  # segments of copying
QUESTIONS_ASKED = 4  # questions of assignment
NAMES, VALUES = 25, 25  # names of one letter, one of 26 left over; values as in the evaluation
DEEPEST = NAMES // 3 - 1


class Dice:
    """Stream of random decisions for one group of rows, from raw bits."""

    def __init__(self, *coordinates: object) -> None:
        key = stream_key("lesson", *coordinates)
        self._values = iter(draw(key, 0, 1, [2**32] * 160)[:, 0].tolist())

    def below(self, bound: int) -> int:
        return int(next(self._values)) * bound >> 32

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def one(self, choices: Sequence[Choice]) -> Choice:
        return choices[self.below(len(choices))]

    def several(self, choices: Sequence[str], low: int, high: int) -> list[str]:
        return [self.one(choices) for _ in range(self.between(low, high))]


class Page:
    """Builder of a group's rows, one column of tokens at a time."""

    def __init__(self) -> None:
        self._tokens: list[Tokens] = []
        self._scored: list[bool] = []

    def literal(self, texts: Sequence[str]) -> None:
        """Append the same tokens to all rows."""
        for token in ids(list(texts)):
            self._tokens.append(np.full(GROUP, token))
            self._scored.append(False)

    def column(self, tokens: Tokens, scored: bool = False) -> None:
        """Append tokens per row, ``(GROUP,)`` or ``(GROUP, k)``, as targets if ``scored``."""
        for column in tokens.reshape(GROUP, -1).T:
            self._tokens.append(column)
            self._scored.append(scored)

    def rows(self) -> Rows:
        """Return inputs and targets, both ``(GROUP, length)``."""
        tokens = np.stack(self._tokens, axis=1)
        scored = np.array(self._scored[1:])
        return tokens[:, :-1], np.where(scored, tokens[:, 1:], IGNORED)


def repeats(seed: int, group: int) -> Rows:
    """Make rows of random symbols, then a part of them again."""
    dice = Dice("repeats", seed, group)
    count = dice.between(6, 32)
    symbols = _symbols()
    tokens = symbols[_draws("repeats", seed, group, [len(symbols)] * 32)[:count].T]
    start = dice.below(count // 2)
    page = Page()
    page.column(tokens)
    page.column(tokens[:, start : start + 1])
    page.column(tokens[:, start + 1 :], scored=True)
    return page.rows()


def copying(kind: str, seed: int, group: int) -> Rows:
    """Make rows of words, then several segments, each with signs and the next word."""
    dice = Dice("copying", kind, seed, group)
    count = dice.between(4, 10)
    length = dice.between(1, count // 2 + 1)
    items = _items(Copying(kind, count, length), seed, group)
    spelling, columns = _spelling(kind), [items.slots[f"word {i}"].codes for i in range(count)]
    before, signs = _heading(dice), ids(dice.several(["____", *SIGNS], 0, 4)).tolist()
    end = ids(dice.one([["\n"], [","], [";", "\n"]])).tolist()
    # all different: an earlier segment would give the answer away
    segments = falling(count - length, min(SEGMENTS, count - length))
    starts = distinct(_draws("segments", seed, group, segments), count - length)
    tokens: list[list[int]] = []
    scored: list[list[bool]] = []
    for row in range(GROUP):
        words = [spelling[codes[row]] for codes in columns]
        text = [*ids(before).tolist(), *chain(*words), *end]
        marks = [False] * len(text)
        for start in starts[:, row].tolist():
            segment = list(chain(*words[start : start + length]))
            answer = words[start + length]
            text += [*segment, *signs, *answer, *end]
            free = len(words[start])  # the start of a segment cannot be predicted
            marks += [False] * free + [True] * (len(segment) - free) + [False] * len(signs)
            marks += [True] * len(answer) + [False] * len(end)
        tokens.append(text)
        scored.append(marks)
    return _padded(tokens, scored)


def recall(seed: int, group: int) -> Rows:
    """Make rows of names and values, then many of the names again."""
    dice = Dice("recall", seed, group)
    left, right = _lines(0, dice.between(*PAIRS), seed, group)
    between, end = _line_signs(dice)
    page = Page()
    asked = _draws("recall asked", seed, group, [len(left)] * QUESTIONS).astype(np.intp)
    rows = np.arange(GROUP)
    for names, values, scored in [
        (left, right, False),
        (left[asked, rows], right[asked, rows], True),
    ]:
        for name, value in zip(names, values, strict=True):
            page.column(name)
            page.literal(between)
            page.column(value, scored)
            page.literal(end)
    return page.rows()


def assignment(deepest: int, seed: int, group: int) -> Rows:
    """Make rows of alias chains, then names of a few chains with their values."""
    dice = Dice("assignment", deepest, seed, group)
    depth = deepest if dice.below(3) else dice.below(deepest + 1)
    chains = dice.between(3, min(6 if depth else 8, NAMES // (depth + 1)))
    left, right = _lines(depth, chains, seed, group)
    between, end = _line_signs(dice)
    page = Page()
    page.literal(_heading(dice))
    for name, value in zip(left, right, strict=True):
        page.column(name)
        page.literal(between)
        page.column(value)
        page.literal(end)
    before = dice.several([*words(), "\n"], 0, 8)
    after = [*dice.several([*words()[:40], *SIGNS, "\n"], 0, 6), dice.one([*SIGNS, "____"])]
    asked = min(QUESTIONS_ASKED, chains - 2)
    picks = distinct(_draws("asked", seed, group, falling(chains, asked)), chains)
    own, value = _resolved(left, right, chains)
    rows = np.arange(GROUP)
    for question in range(asked):
        layer = depth if question == 0 else dice.below(depth + 1)
        lines = slice(layer * chains, (layer + 1) * chains)
        place = (own[lines] == picks[question]).argmax(axis=0) + layer * chains
        page.literal(before)
        page.column(left[place, rows])
        page.literal(after)
        page.column(value[place, rows], scored=True)
        page.literal(end)
    return page.rows()


def lesson(name: str) -> Callable[[int, int], Rows]:
    """Return a lesson by name: ``(seed, group)`` -> inputs and targets, both ``(8, length)``.

    >>> tokens, targets = lesson("assignment-2")(0, 0)
    >>> tokens.shape == targets.shape
    True

    Raises:
        InputError: an unknown name.
    """
    simple: dict[str, Callable[[int, int], Rows]] = {
        "repeats": repeats,
        "copying-words": partial(copying, "real"),
        "copying-letters": partial(copying, "random"),
        "recall": recall,
    }
    if name in simple:
        return simple[name]
    depth = re.fullmatch(r"assignment-(\d{1,2})", name)
    if depth is None:
        raise unknown("lesson", name, [*simple, "assignment-0", "assignment-1", "assignment-2"])
    if int(depth[1]) > DEEPEST:
        raise InputError(f"lesson {name}: one-letter names last for depth {DEEPEST}")
    return partial(assignment, int(depth[1]))


def _draws(what: str, seed: int, group: int, ranges: Sequence[int]) -> NDArray[np.uint32]:
    """Draw numbers for the rows of a group, ``(len(ranges), GROUP)``."""
    return draw(stream_key("lesson", what, len(ranges), seed), group * GROUP, GROUP, ranges)


@cache
def _source(task: Task, seed: int) -> Source:
    return Source(task, "train", seed)


def _items(task: Task, seed: int, group: int) -> Batch:
    return _source(task, seed).batch(group * GROUP, (group + 1) * GROUP)


def _lines(depth: int, chains: int, seed: int, group: int) -> tuple[Tokens, Tokens]:
    """Return both sides of the lines of assignment items as tokens, ``(lines, GROUP)`` each."""
    items = _items(VariableAssignment(depth=depth, chains=chains, high=VALUES), seed, group)
    known = _tokens(tuple(items.content.table.strings))
    sides = (
        [known[items.slots[f"{side} {i}"].codes] for i in range(chains * (depth + 1))]
        for side in ("name", "value")
    )
    left, right = (np.stack(side) for side in sides)
    return left, right


def _resolved(left: Tokens, right: Tokens, chains: int) -> tuple[Tokens, Tokens]:
    """Return the chain (index of its base line) and the value of each line."""
    chain, value = np.empty_like(left), np.empty_like(right)
    rows = np.arange(left.shape[1])
    for line in range(len(left)):
        if line < chains:
            chain[line], value[line] = line, right[line]
        else:
            above = slice((line // chains - 1) * chains, line // chains * chains)
            place = (left[above] == right[line]).argmax(axis=0) + above.start
            chain[line], value[line] = chain[place, rows], value[place, rows]
    return chain, value


@cache
def _symbols() -> Tokens:
    """Return tokens of letters, alone and inside a word, and of numbers."""
    inside = [CONTINUED + letter for letter in ascii_lowercase]
    return ids([*ascii_lowercase, *inside, *(str(n) for n in range(1, VALUES + 1))])


@cache
def _tokens(texts: tuple[str, ...]) -> Tokens:
    return ids(texts)


@cache
def _spelling(kind: str) -> list[list[int]]:
    """Return the tokens of each word of copying, by its code."""
    return [spelt(text) for text in Copying(kind).vocabulary]


def _padded(tokens: Sequence[Sequence[int]], scored: Sequence[Sequence[bool]]) -> Rows:
    """Pad rows of unequal length to inputs and targets."""
    shape = len(tokens), max(map(len, tokens))
    inputs, targets = np.zeros(shape, np.int64), np.full(shape, IGNORED)
    for i, (row, marks) in enumerate(zip(tokens, scored, strict=True)):
        inputs[i, : len(row)] = row
        targets[i, : len(row)] = np.where(marks, row, IGNORED)
    return inputs[:, :-1], targets[:, 1:]


def _line_signs(dice: Dice) -> tuple[list[str], list[str]]:
    """Draw the signs between the sides of a line, and after it."""
    between: list[list[str]] = [[], ["="], ["="], [":"], ["-", ">"], ["is"], [":", "="]]
    end: list[list[str]] = [["\n"], ["\n"], [","], [";"], ["."], [";", "\n"]]
    return between[dice.below(len(between))], end[dice.below(len(end))]


def _heading(dice: Dice) -> list[str]:
    """Draw a heading of random words; none half of the time."""
    if dice.below(2):
        return []
    return dice.several(words(), 1, 10) + dice.several([*SIGNS, "\n"], 1, 2)
