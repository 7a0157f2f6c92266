"""Requests as a trie of token prefixes, laid out so that one pass computes every node once.

Nodes stand in depth-first order: a node comes after its parent, and what grows from it comes
directly after it. Two numbers a node then say everything: its ``depth`` is its position in the
text, and ``end`` is the first node that does not grow from it, so that

    node q sees node k  when  k <= q < end[k]

Contexts ``a b c`` and ``a b d`` with the options ``x y``, ``x z`` and ``w`` after each (the last
token of an option is only predicted, so it is no node)::

    node      0  1  2  3  4  5
    token     a  b  c  x  d  x
    depth     0  1  2  3  2  3
    end       6  6  4  4  6  6
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
ORDERED = np.dtype(">u4")  # big-endian: the order of bytes is the order of tokens


@dataclass(frozen=True)
class Trie:
    """Every distinct prefix of some requests, and where their continuations are predicted.

    Args:
        tokens, depth, end: of each node, in depth-first order.
        places: for each token to predict, the node that predicts it; ascending.
        targets: those tokens.
        owners: the request each belongs to.
        requests: how many there are.
    """

    tokens: Ints
    depth: Ints
    end: Ints
    places: Ints
    targets: Ints
    owners: Ints
    requests: int

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def last(self) -> Ints:
        """The last node that each request is predicted from."""
        found = np.zeros(self.requests, dtype=np.int64)
        np.maximum.at(found, self.owners, self.places)
        return found

    def wanted(self, start: int, stop: int) -> slice:
        """The tokens to predict from the nodes ``start .. stop-1``: a slice of ``places``."""
        first, last = np.searchsorted(self.places, [start, stop])
        return slice(int(first), int(last))

    def sums(self, log_probs: NDArray[Any], greedy: NDArray[Any]) -> list[tuple[float, bool]]:
        """Of each request the summed log-probability, and whether all its tokens were greedy.

        Args:
            log_probs: of each token to predict.
            greedy: whether it was the most probable.
        """
        total = np.bincount(self.owners, log_probs, self.requests)
        missed = np.bincount(self.owners, ~greedy, self.requests)
        return list(zip(total.tolist(), (missed == 0).tolist(), strict=True))


def build(requests: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Trie:
    """The trie of pairs of context and continuation; neither may be empty.

    >>> build([([1, 2], [7, 8]), ([1, 2], [7, 9])]).tokens.tolist()
    [1, 2, 7]
    """
    tokens: list[Ints] = []
    closed: list[tuple[Ints, int]] = []  # nodes, and their common end
    found: list[tuple[Ints, int]] = []  # where a request is predicted, and its number
    longest = max((len(a) + len(b) for a, b in requests), default=0)
    path = np.empty(longest, dtype=np.int64)  # the nodes of the newest row
    depths: list[Ints] = []
    before = np.empty(0, dtype=np.int64)
    total = 0
    for text, members in _rows(requests):
        row = np.frombuffer(text, dtype=ORDERED).astype(np.int64)
        shared = _shared(before, row)
        closed.append((path[shared : len(before)].copy(), total))
        new = len(row) - shared
        path[shared : len(row)] = np.arange(total, total + new)
        tokens.append(row[shared:])
        depths.append(np.arange(shared, len(row)))
        total += new
        for i in members:
            found.append((path[len(row) - len(requests[i][1]) : len(row)].copy(), i))
        before = row
    closed.append((path[: len(before)].copy(), total))
    end = np.empty(total, dtype=np.int64)
    for nodes, stop in closed:
        end[nodes] = stop
    places = _joined([nodes for nodes, _ in found])
    targets = _joined([np.asarray(requests[i][1], dtype=np.int64) for _, i in found])
    owners = _joined([np.full(len(nodes), i) for nodes, i in found])
    order = np.argsort(places, kind="stable")
    return Trie(
        _joined(tokens),
        _joined(depths),
        end,
        places[order],
        targets[order],
        owners[order],
        len(requests),
    )


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _shared(a: Ints, b: Ints) -> int:
    """How many tokens two rows begin with in common."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length


def _rows(
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> Iterator[tuple[bytes, list[int]]]:
    """What runs for each request (all but its last token), in order, equal ones together.

    Contexts are sorted first and rows only among contexts that begin alike: all rows at once
    would take the memory of every context times its options.
    """
    texts: dict[int, bytes] = {}  # options share their context's list
    by_context: dict[bytes, list[int]] = defaultdict(list)
    for i, (context, _) in enumerate(requests):
        text = texts.get(id(context))
        if text is None:
            text = texts[id(context)] = _bytes(context)
        by_context[text].append(i)
    rows: dict[bytes, list[int]] = {}
    root = b""
    for context in sorted(by_context):
        if not context.startswith(root):
            yield from sorted(rows.items())
            rows = {}
        if not rows:
            root = context
        for i in by_context[context]:
            rows.setdefault(context + _bytes(requests[i][1][:-1]), []).append(i)
    yield from sorted(rows.items())


def _bytes(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, dtype=ORDERED).tobytes()
