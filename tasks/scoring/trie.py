"""Trie of token prefixes, laid out so that one forward pass computes every prefix once.

Nodes are in depth-first order: a node comes after its parent, and its descendants directly after
it. Two numbers per node then describe the tree: ``depth`` is the token's position in the text, and
``end`` is the first node that is not a descendant, so that

    node q sees node k  when  k <= q < end[k]

Example: contexts ``a b c`` and ``a b d`` with the options ``x y``, ``x z`` and ``w`` after each.
The last token of an option is only predicted, so it is not a node::

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
    """Trie of requests, as arrays over its nodes and over the tokens that they predict.

    Args:
        tokens, depth, end: token id, position in the text, and first node outside the subtree of
            each node, ``(nodes,)``.
        places: node whose logits predict each target token, ascending, ``(targets,)``.
        targets: ids of the target tokens, ``(targets,)``.
        owners: request that each target token belongs to, ``(targets,)``.
        requests: number of requests.
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
        """Last node that each request is predicted from, ``(requests,)``."""
        last = np.zeros(self.requests, dtype=np.int64)
        np.maximum.at(last, self.owners, self.places)
        return last

    def predicted(self, start: int, stop: int) -> slice:
        """Return the slice of ``places`` that is predicted from the nodes ``start .. stop-1``."""
        first, last = np.searchsorted(self.places, [start, stop])
        return slice(int(first), int(last))

    def sums(self, log_probs: NDArray[Any], greedy: NDArray[Any]) -> list[tuple[float, bool]]:
        """Sum the log-probabilities of each request, and test whether all its tokens are greedy.

        Args:
            log_probs: per predicted token.
            greedy: per predicted token, whether it is the most probable one.
        """
        total = np.bincount(self.owners, log_probs, self.requests)
        missed = np.bincount(self.owners, ~greedy, self.requests)
        return list(zip(total.tolist(), (missed == 0).tolist(), strict=True))


def build(requests: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Trie:
    """Build the trie of pairs of context and continuation; neither may be empty.

    >>> build([([1, 2], [7, 8]), ([1, 2], [7, 9])]).tokens.tolist()
    [1, 2, 7]
    """
    tokens: list[Ints] = []
    closed: list[tuple[Ints, int]] = []  # nodes, and their common end
    predictors: list[tuple[Ints, int]] = []  # nodes that predict a request, and its number
    longest = max((len(a) + len(b) for a, b in requests), default=0)
    path = np.empty(longest, dtype=np.int64)  # nodes of the latest row
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
            predictors.append((path[len(row) - len(requests[i][1]) : len(row)].copy(), i))
        before = row
    closed.append((path[: len(before)].copy(), total))
    end = np.empty(total, dtype=np.int64)
    for nodes, stop in closed:
        end[nodes] = stop
    places = _concatenate([nodes for nodes, _ in predictors])
    targets = _concatenate([np.asarray(requests[i][1], dtype=np.int64) for _, i in predictors])
    owners = _concatenate([np.full(len(nodes), i) for nodes, i in predictors])
    order = np.argsort(places, kind="stable")
    return Trie(
        _concatenate(tokens),
        _concatenate(depths),
        end,
        places[order],
        targets[order],
        owners[order],
        len(requests),
    )


def _concatenate(parts: list[Ints]) -> Ints:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _shared(a: Ints, b: Ints) -> int:
    """Count the first tokens that two rows share."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length


def _rows(
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> Iterator[tuple[bytes, list[int]]]:
    """Yield distinct rows (requests without their last token), sorted, with their request numbers.

    Contexts are sorted first, and rows only among contexts that share a beginning: all rows at
    once would take the memory of every context times its options.
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
