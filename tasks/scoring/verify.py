"""Verification of a scoring strategy: a few requests must score as in lm-eval before it is used.

In half precision two correct computations may differ by most of a nat, more than many a wrong mask
would. So models are verified in float32, whatever they run in afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch

from .scan import Scores

Pair = tuple[list[int], list[int]]
"""The tokens of a context and of a continuation; neither is empty."""

TRIED = 64  # context tokens of a probe
AHEAD = 8  # tokens predicted after the beginning of a text
EXACT = 1e-3  # largest difference in float32, nats per token
ROUGH = 0.3  # mean difference in half precision, nats per token
HALF = (torch.bfloat16, torch.float16)


def probes(pairs: Sequence[Pair], longest: int) -> list[Pair]:
    """Make probe requests: a trie of branches from the tokens of a request, plus extremes.

    Args:
        pairs: tokens of contexts and continuations; the shortest and the longest are included.
        longest: context length of the model, in tokens.
    """
    text = [*pairs[0][0], *pairs[0][1]]  # a context may be one token
    a, b, c, d = (text * 4)[-4:]
    options = [[a, b], [a, c], [d, a, b], [d, a, c], [d, c, b], [b], [c, c, c, c]]
    tried = text[: max(1, min(longest, TRIED + 8, len(text)) - 8)]
    other = [*tried[: len(tried) // 2], d, c, *tried[len(tried) // 2 + 2 :]]
    branches = [(tried, option) for option in options]
    branches += [(other, option) for option in ([a, b], [c])]
    return [*branches, min(pairs, key=_length), max(pairs, key=_length)]


def beginnings(pairs: Sequence[Pair]) -> list[Pair]:
    """Make requests of beginnings of the longest one: they must score alone as within it."""
    text = longest_text(pairs)
    half = len(text) // 2
    shortest = min(len(context) for context, _ in pairs)
    return [(text[:end], text[end : end + AHEAD]) for end in sorted({min(shortest, half), half})]


def longest_text(pairs: Sequence[Pair]) -> list[int]:
    """Return the tokens of the longest request."""
    context, continuation = max(pairs, key=_length)
    return [*context, *continuation]


def _length(pair: Pair) -> int:
    return len(pair[0]) + len(pair[1])


def agree(
    scores: Sequence[Scores], expected: Sequence[Scores], requests: Sequence[Pair], exact: bool
) -> bool:
    """Return whether scores agree, for each schedule.

    Args:
        scores, expected: per schedule, the scores of all requests.
        requests: the requests.
        exact: whether the scores were computed in float32.
    """
    differences = [
        abs(x - y) / len(option)
        for ours, theirs in zip(scores, expected, strict=True)
        for (x, _), (y, _), (_, option) in zip(ours, theirs, requests, strict=True)
    ]
    if exact:
        return max(differences) <= EXACT
    return sum(differences) / len(differences) <= ROUGH


@contextmanager
def in_full_precision(model: Any) -> Iterator[None]:
    """Convert weights to float32 inside a ``with`` block; restore the same bits after it.

    Quantized models, and models too large for the copy, are left as they are.
    """
    quantized = getattr(model, "hf_quantizer", None) is not None
    every = () if quantized else chain(model.parameters(), model.buffers())
    tensors = [t for t in every if t.dtype in HALF]
    before = [t.data for t in tensors]
    try:
        try:
            for tensor in tensors:
                tensor.data = tensor.data.float()
        except RuntimeError:  # out of memory, of a GPU or of the machine
            _restore(tensors, before)
        yield
    finally:
        _restore(tensors, before)


def _restore(tensors: Sequence[torch.Tensor], before: Sequence[torch.Tensor]) -> None:
    for tensor, data in zip(tensors, before, strict=True):
        tensor.data = data
