"""Copying: continue the second copy of a segment (arXiv 2602.16490, App. I.1).

``sequence_length`` different words, then a contiguous segment of ``segment_length`` of them again;
the answer is the word that followed the segment::

    jic dqy sof uzg ewr oxw osp tkj rvw mnu   jic dqy sof uzg ewr ____     answer oxw
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from itertools import product
from math import perm
from pathlib import Path
from string import ascii_lowercase
from typing import Any, ClassVar
from unicodedata import normalize

import numpy as np

from ..core.errors import InputError, shown, whole
from .bits import Array, Partition, distinct, falling, ranks_of, smallest
from .task import Content, Task, register_primitive
from .text import Column, Table

WORDS_FILE = Path(__file__).parent / "words" / "english.txt"
MAX_LENGTH = 1000
JOINERS = dict.fromkeys((0x200C, 0x200D))  # in words of Persian or Hindi: no letters of their own
_LISTS: dict[str, tuple[str, ...]] = {}
"""digest -> word list read in this process, so that recorded parameters can rebuild a task."""


@cache
def _random_words(length: int) -> tuple[str, ...]:
    return tuple("".join(letters) for letters in product(ascii_lowercase, repeat=length))


def _listed_words(path: str, length: int | None) -> tuple[str, ...]:
    """Read the words of a file in order, one per line; ``#`` begins a comment line."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        near = get_close_matches(path, ["random", "real"], n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise InputError(
            f"words must be random, real or a file, and {shown(path)} cannot be read: "
            f"{reason}{hint}"
        ) from error
    words = [normalize("NFC", line.strip()) for line in text.splitlines()]
    words = [word for word in words if word and not word.startswith("#")]
    for word in words:
        visible = word.translate(JOINERS)
        if not visible or len(word.split()) != 1 or not visible.isprintable() or len(word) > 100:
            raise InputError(f"word list {shown(path)}: {shown(word)} is not one word")
    return tuple(dict.fromkeys(word for word in words if length in (None, len(word))))


def _digest(words: tuple[str, ...]) -> str:
    return f"sha256:{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:16]}"


@cache
def _english(length: int | None) -> tuple[str, ...]:
    return _listed_words(str(WORDS_FILE), length)


@cache
def _table(words: tuple[str, ...]) -> Table:
    return Table(words)


@register_primitive
@dataclass(frozen=True)
class Copying(Task):
    """Parameters of copying.

    Args:
        words: ``random`` letter strings, ``real`` English words, or a text file with a word a
            line, where ``#`` begins a comment.
        sequence_length: number of words in the sequence, and of options.
        segment_length: number of words repeated after it.
        word_length: letters per word; by default 3 for random words, any for real ones.

    >>> from growloop.primitives import generate
    >>> item = generate("copying", count=1, words="real")[0]
    >>> len(item.choices)
    10
    """

    words: str = "random"
    sequence_length: int = 10
    segment_length: int = 5
    word_length: int | None = None
    control: str = "none"
    vocabulary: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    name: ClassVar[str] = "copying"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "continue the second copy of a sequence of words"

    def __post_init__(self) -> None:
        if self.control != "none":
            raise InputError("copying has no chain to control: control must be 'none'")
        if not isinstance(self.words, str):
            raise InputError(f"words must be random, real or a file, not {shown(self.words)}")
        whole("sequence_length", self.sequence_length, 2, MAX_LENGTH)
        whole("segment_length", self.segment_length, 1, MAX_LENGTH)
        if self.segment_length >= self.sequence_length:
            raise InputError(
                f"segment_length {self.segment_length} must be below sequence_length "
                f"{self.sequence_length}: the answer is the word after the segment"
            )
        if self.word_length is not None:
            whole("word_length", self.word_length, 1, 4 if self.words == "random" else 100)
        if self.words == "random":
            length = self.word_length or 3
            object.__setattr__(self, "word_length", length)
            vocabulary = _random_words(length)
        elif self.words == "real":
            vocabulary = _english(self.word_length)
        elif self.words in _LISTS:
            vocabulary = _LISTS[self.words]
        else:
            vocabulary = _listed_words(self.words, self.word_length)
            _LISTS[_digest(vocabulary)] = vocabulary
        if len(vocabulary) < self.sequence_length:
            raise InputError(
                f"sequence_length {self.sequence_length} needs as many different words, but "
                f"'{self.words}' has {len(vocabulary)}"
                + (f" of {self.word_length} letters" if self.word_length else "")
            )
        object.__setattr__(self, "vocabulary", vocabulary)
        _ = self.partition.tail  # refuses a space too small to divide

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        if self.words in ("random", "real"):
            return f"copying_{self.words}_words", ("words",)
        return "copying", ()

    @property
    def template(self) -> str:
        return "copying"

    @property
    def options(self) -> int:
        return self.sequence_length

    @property
    def params(self) -> dict[str, Any]:
        """Parameters; a word file is identified by its words, not by its path."""
        params = {k: v for k, v in super().params.items() if k != "vocabulary"}
        if self.words not in ("random", "real"):
            params["words"] = _digest(self.vocabulary)
        return params

    @cached_property
    def partition(self) -> Partition:
        return Partition(tuple(falling(len(self.vocabulary), self.sequence_length)))

    @property
    def starts(self) -> int:
        """Number of positions where a segment can begin."""
        return self.sequence_length - self.segment_length

    @property
    def combinations(self) -> int:
        return perm(len(self.vocabulary), self.sequence_length) * self.starts

    def ranges(self, split: str) -> list[int]:
        return [*self.partition.draw_ranges(split), self.starts, self.sequence_length]

    def content(self, draws: Array, split: str) -> Content:
        length, column = self.sequence_length, np.arange(draws.shape[1])
        ranks = self.partition.ranks(draws[:-2], [], split)
        words = distinct(ranks, len(self.vocabulary))
        start, turn = draws[-2].astype(np.intp), draws[-1].astype(np.intp)
        table = _table(self.vocabulary)
        slots = {f"word {i}": Column(row, table) for i, row in enumerate(words)}
        for i in range(self.segment_length):
            slots[f"segment word {i}"] = Column(words[start + i, column], table)
        # options in the order of the sequence, rotated at random: the answer's index says nothing
        places = (np.arange(length)[:, None] + turn) % length
        answer = (start + self.segment_length - turn) % length
        return Content(slots, table, words[places, column], answer)

    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        return {
            "words": [slot(f"word {i}") for i in range(self.sequence_length)],
            "segment": [slot(f"segment word {i}") for i in range(self.segment_length)],
        }

    def splits_of(self, prompts: list[str]) -> list[str]:
        index = {word: i for i, word in enumerate(self.vocabulary)}
        rows = []
        for prompt in prompts:
            words = prompt.split("\n")[1].split(" ")[: self.sequence_length]
            if not index.keys() >= set(words):
                raise ValueError("a word is not of this task's list")
            rows.append([index[word] for word in words])
        picks = np.array(rows, np.int64).T.astype(smallest(len(self.vocabulary)))
        return self.partition.split_of(ranks_of(picks), [])
