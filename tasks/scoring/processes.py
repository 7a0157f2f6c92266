"""Distributed scoring: each process scores a part of the requests, and all get all scores.

lm-eval divides the questions, so the number of processes changes which few-shot examples are drawn.
Here every process builds the requests of a single process, and the trie of all requests is cut into
pieces of equal length. Shared prefixes still run once, except at the cuts.
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
    """Cut the trie of requests into ``parts`` pieces; return the request numbers of each piece.

    >>> cut([([1, 2, 3], [7, 8]), ([4, 5, 6], [9]), ([1, 2, 3], [9])], 2)
    [[0, 2], [1]]
    """
    trie = build(pairs)
    # by the last node: requests without a context all begin at the root
    piece = trie.last * parts // max(1, len(trie))
    return [np.flatnonzero(piece == part).tolist() for part in range(parts)]


@dataclass(frozen=True)
class Processes:
    """Process group of ``accelerate launch`` or ``torchrun``.

    Args:
        size: number of processes (world size).
        rank: index of this process, from 0.
    """

    size: int = 1
    rank: int = 0

    @classmethod
    def of(cls, lm: Any) -> Processes:
        """Return the processes of an lm-eval model; one if it was built from a loaded model."""
        accelerator = getattr(lm, "accelerator", None)
        if accelerator is None:
            return cls()
        return cls(accelerator.num_processes, accelerator.process_index)

    def share(
        self,
        requests: object,
        parts: Sequence[Sequence[int]],
        work: Callable[[Sequence[int]], Sequence[T]],
    ) -> list[T]:
        """Divide work among processes and return the results of all items, in order.

        An error in one process is raised in all.

        Args:
            requests: fingerprint of the items, compared to check that all processes have the same.
            parts: item indices of each process; every item is in one part.
            work: function of item indices that returns one result per item.

        Raises:
            InputError: the processes did not have the same items.
        """
        mine = parts[self.rank]
        if self.size == 1:
            return list(work(mine))
        from accelerate.utils import gather_object

        results: list[T] = []
        failure: Exception | None = None
        try:
            results = list(work(mine))
        except Exception as error:  # the other processes wait for this one
            failure = error
        messages = gather_object([(requests, list(mine), results, failure and _sendable(failure))])
        if any(other != messages[0][0] for other, *_ in messages):
            raise InputError(
                "the processes have different requests: do all see the same files and caches?"
            )
        for *_, failed in messages:
            if failed is not None:
                raise failed from failure
        gathered = {i: result for _, numbers, results, _ in messages
                    for i, result in zip(numbers, results, strict=True)}  # fmt: skip
        return [gathered[i] for i in range(sum(map(len, parts)))]


def first() -> bool:
    """Return whether this process is alone, or has rank 0."""
    return int(os.environ.get("WORLD_SIZE", 1)) == 1 or int(os.environ.get("RANK", 0)) == 0


def _sendable(error: Exception) -> Exception:
    """Convert an exception to one that can be pickled for other processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception class may have any constructor
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
