"""Whether a way of scoring gives lm-eval's numbers: tried on a few requests before it is used.

In half precision two right computations may differ by most of a nat, more than many a wrong mask
makes. So models are tried in float32, whatever they run in afterwards.
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

TRIED = 64  # tokens of the context that are read
AHEAD = 8  # tokens predicted after the beginning of a text
EXACT = 1e-3  # nats a token, at most, in float32
ROUGH = 0.3  # nats a token, on average, in half precision
HALF = (torch.bfloat16, torch.float16)


def probes(pairs: Sequence[Pair], longest: int) -> list[Pair]:
    """Branches made of the tokens of a request; the shortest request and the longest.

    Args:
        pairs: tokens of contexts and continuations.
        longest: tokens that the model can read.
    """
    text = [*pairs[0][0], *pairs[0][1]]  # a context may be one token
    a, b, c, d = (text * 4)[-4:]
    options = [[a, b], [a, c], [d, a, b], [d, a, c], [d, c, b], [b], [c, c, c, c]]
    tried = text[: max(1, min(longest, TRIED + 8, len(text)) - 8)]
    other = [*tried[: len(tried) // 2], d, c, *tried[len(tried) // 2 + 2 :]]
    found = [(tried, option) for option in options]
    found += [(other, option) for option in ([a, b], [c])]
    return [*found, min(pairs, key=_length), max(pairs, key=_length)]


def beginnings(pairs: Sequence[Pair]) -> list[Pair]:
    """Beginnings of the longest request as requests of their own: what a long text begins with must
    score as it does alone.
    """
    text = longest_text(pairs)
    half = len(text) // 2
    shortest = min(len(context) for context, _ in pairs)
    return [(text[:end], text[end : end + AHEAD]) for end in sorted({min(shortest, half), half})]


def longest_text(pairs: Sequence[Pair]) -> list[int]:
    """The tokens of the longest request."""
    context, continuation = max(pairs, key=_length)
    return [*context, *continuation]


def _length(pair: Pair) -> int:
    return len(pair[0]) + len(pair[1])


def agree(
    found: Sequence[Scores], right: Sequence[Scores], asked: Sequence[Pair], exact: bool
) -> bool:
    """Whether scores are the same, for each schedule.

    Args:
        asked: the requests.
        exact: whether they were computed in float32.
    """
    off = [
        abs(x - y) / len(option)
        for ours, theirs in zip(found, right, strict=True)
        for (x, _), (y, _), (_, option) in zip(ours, theirs, asked, strict=True)
    ]
    return max(off) <= EXACT if exact else sum(off) / len(off) <= ROUGH


@contextmanager
def in_full_precision(model: Any) -> Iterator[None]:
    """A model's weights in float32 for a while; afterwards they are the same bits as before.

    Quantized models, and those that memory does not suffice for three times, stay as they are.
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
