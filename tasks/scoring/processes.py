"""Several processes score one evaluation: each a part of the requests, and all know all scores.

lm-eval divides the questions, so that another number of processes draws other examples. Here every
process asks the same requests as one alone would, and the trie of all of them is cut into pieces
of equal length: what requests begin with in common still runs once, except at the cuts.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ...core.errors import InputError
from .trie import build

T = TypeVar("T")
Pair = tuple[Sequence[int], Sequence[int]]


def cut(pairs: Sequence[Pair], parts: int) -> list[list[int]]:
    """The numbers of the requests in each of ``parts`` pieces of their trie.

    >>> cut([([1, 2, 3], [7, 8]), ([4, 5, 6], [9]), ([1, 2, 3], [9])], 2)
    [[0, 2], [1]]
    """
    trie = build(pairs)
    # by the node that comes last: texts without a context all begin at the root
    piece = trie.last * parts // max(1, len(trie))
    return [np.flatnonzero(piece == part).tolist() for part in range(parts)]


@dataclass(frozen=True)
class Processes:
    """Those of ``accelerate launch`` or ``torchrun``.

    Args:
        count: how many there are.
        place: which of them this is, from 0.
    """

    count: int = 1
    place: int = 0

    @classmethod
    def of(cls, lm: Any) -> Processes:
        """As lm-eval found them; one for a model that was in memory before."""
        found = getattr(lm, "accelerator", None)
        return cls() if found is None else cls(found.num_processes, found.process_index)

    def share(
        self,
        asked: object,
        parts: Sequence[Sequence[int]],
        work: Callable[[Sequence[int]], Sequence[T]],
    ) -> list[T]:
        """The results of all, in order. What fails in one process fails in all.

        Args:
            asked: equal in all processes if their items are.
            parts: what each process does: numbers of items, each in one part.
            work: the results of some items.

        Raises:
            InputError: the processes did not have the same items.
        """
        mine = parts[self.place]
        if self.count == 1:
            return list(work(mine))
        from accelerate.utils import gather_object

        results: list[T] = []
        failure: Exception | None = None
        try:
            results = list(work(mine))
        except Exception as error:  # the others wait
            failure = error
        told = gather_object([(asked, list(mine), results, failure and _sendable(failure))])
        if any(other != told[0][0] for other, *_ in told):
            raise InputError(
                "the processes were not asked the same: do all see the same files and caches?"
            )
        for *_, failed in told:
            if failed is not None:
                raise failed from failure
        found = {i: result for _, numbers, results, _ in told
                 for i, result in zip(numbers, results, strict=True)}  # fmt: skip
        return [found[i] for i in range(sum(map(len, parts)))]


def first() -> bool:
    """Whether this process is alone, or the first of those that were started together."""
    return int(os.environ.get("WORLD_SIZE", 1)) == 1 or int(os.environ.get("RANK", 0)) == 0


def _sendable(error: Exception) -> Exception:
    """An exception as other processes can raise it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception may be made in any way
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
