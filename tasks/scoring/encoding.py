"""Turns lm-eval's requests into tokens, many texts at a time.

As ``TemplateLM.loglikelihood`` does one text after the other, a context ends before its trailing
spaces, and a continuation is what context and continuation together have more than the context
alone. Options of a question share one list of the context's tokens.

Where a token reaches from the context into the continuation (a vocabulary with ``": 1"``), the
tokens of both together do not begin with those of the context. lm-eval cuts at the number of the
context's tokens all the same, and scores a text that nobody wrote: ``:`` then ``3`` for the options
13 and 23. Here such texts are cut after the last token that the context has in common with all its
options, so that their scores are log p(whole text | common tokens) of one and the same beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...core import text_tokens
from ..bars import bar
from ..lm_tokenization import adds_special_tokens

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""The texts, the tokens of the context, the tokens of the continuation."""
CHUNK = 1024  # texts tokenized at once: their tokens are held only as long


@dataclass(frozen=True)
class Encoded:
    """Requests as tokens.

    Args:
        requests: in the order given.
        merged: indices of those with a token that reaches over the boundary.
        alike: indices of those whose text differs from an earlier one's by nothing that is a token.
    """

    requests: list[Request]
    merged: list[int]
    alike: list[int]


def encode_pairs(lm: Any, pairs: Sequence[tuple[str, str]], quiet: bool = False) -> list[Request]:
    """The requests of :func:`encode`."""
    return encode(lm, pairs, quiet).requests


def encode(
    lm: Any, pairs: Sequence[tuple[str, str]], quiet: bool = False, repair: bool = True
) -> Encoded:
    """The tokens of contexts and their continuations.

    Args:
        lm: the ``HFLM`` whose tokenizer and settings count.
        pairs: texts of context and continuation.
        repair: cut after the last common token; False for lm-eval's cut.
    """
    same: dict[int, int] = {}  # one object a token, instead of one each time it occurs
    contexts: dict[str, list[int]] = {}
    cuts: dict[str, int] = {}  # of contexts with a token that reaches over their end
    seen: dict[tuple[str, int], str] = {}
    found: list[tuple[tuple[str, str], str, int, list[int]]] = []
    merged, alike = [], []
    progress = bar("Tokenizing", total=len(pairs), unit=" requests", quiet=quiet)
    with _parallel():
        for start in range(0, len(pairs), CHUNK):
            part = [(texts, *_split(*texts)) for texts in pairs[start : start + CHUNK]]
            new = dict.fromkeys(context for _, context, _ in part if context not in contexts)
            for context, tokens in zip(new, _encode(lm, list(new)), strict=True):
                contexts[context] = [same.setdefault(t, t) for t in tokens]
            wholes = _encode(lm, [context + rest for _, context, rest in part])
            for (texts, context, rest), whole in zip(part, wholes, strict=True):
                before = contexts[context]
                common = len(before)
                if whole[:common] != before:
                    merged.append(len(found))
                    if repair:
                        common = _common(whole, before)
                        cuts[context] = min(common, cuts.get(context, common))
                if seen.setdefault((context, hash(tuple(whole[common:]))), rest) != rest:
                    alike.append(len(found))
                found.append((texts, context, common, whole[common:]))
            progress.update(len(part))
    progress.close()
    starts = {context: contexts[context][:cut] for context, cut in cuts.items()}
    for context, start_tokens in starts.items():
        if not start_tokens:  # nothing in common: read after the token that empty contexts get
            starts[context] = [lm.prefix_token_id]
    requests: list[Request] = []
    for texts, context, common, rest_tokens in found:
        if context in cuts and rest_tokens:
            rest_tokens = contexts[context][cuts[context] : common] + rest_tokens
        requests.append((texts, starts.get(context, contexts[context]), rest_tokens))
    return Encoded(requests, merged, alike)


def encode_alone(lm: Any, continuation: str) -> Request:
    """The tokens of a continuation without a context, as lm-eval makes them."""
    tokens = lm.tok_encode(continuation, add_special_tokens=False)
    prefix = lm.prefix_token_id
    if tokens[:1] == [prefix]:
        return ("", continuation), tokens[:1], tokens[1:]
    return ("", continuation), [prefix], tokens


def _split(context: str, continuation: str) -> tuple[str, str]:
    """Spaces that end a context belong to what follows: tokens begin with them."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _encode(lm: Any, texts: list[str]) -> list[list[int]]:
    """Tokens of texts, as training makes them: without what a tokenizer puts behind every text."""
    return text_tokens.encode(lm.tokenizer, texts, adds_special_tokens(lm))


@contextmanager
def _parallel() -> Iterator[None]:
    """Let the tokenizer use all cores here; no process is forked inside."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
