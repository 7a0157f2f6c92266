"""Tokenization of lm-eval's requests, many texts at a time.

As in ``TemplateLM.loglikelihood``, trailing spaces of a context move to the continuation, and the
continuation's tokens are those of the whole text after as many as the context has alone. Options
of a question share one list of context tokens.

A token may span the boundary (a vocabulary with ``": 1"``): then the tokens of the whole text do
not begin with those of the context. lm-eval cuts at the context's number of tokens anyway, and so
scores a text that nobody wrote: ``:`` then ``3`` for the options 13 and 23. Here such texts are cut
after the last token that the context shares with all its options. Their scores are log p(whole
text | shared tokens), with the same shared tokens for all options.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...core import text_tokens
from ..lm_tokenization import adds_special_tokens
from ..progress_bars import bar

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""(context, continuation) texts or None, context tokens, continuation tokens."""
CHUNK = 1024  # texts per call of the tokenizer, whose output is freed after each


@dataclass(frozen=True)
class Encoded:
    """Tokenized requests.

    Args:
        requests: requests, in the order given.
        merged: indices of requests with a token that spans context and continuation.
        alike: indices of requests whose tokens equal those of an earlier request with another
            text, so that the model cannot tell them apart.
    """

    requests: list[Request]
    merged: list[int]
    alike: list[int]


def encode_pairs(lm: Any, pairs: Sequence[tuple[str, str]], quiet: bool = False) -> list[Request]:
    """Tokenize contexts and continuations; the requests of :func:`encode` alone."""
    return encode(lm, pairs, quiet).requests


def encode(
    lm: Any, pairs: Sequence[tuple[str, str]], quiet: bool = False, repair: bool = True
) -> Encoded:
    """Tokenize contexts and continuations.

    Args:
        lm: ``HFLM`` with the tokenizer and its settings.
        pairs: (context, continuation) texts.
        quiet: show no progress bar.
        repair: cut after the last shared token; False for lm-eval's cut.
    """
    same: dict[int, int] = {}  # one int object per token id, to save memory
    contexts: dict[str, list[int]] = {}
    cuts: dict[str, int] = {}  # context with a spanning token -> shared tokens
    seen: dict[tuple[str, int], str] = {}
    cut_texts: list[tuple[tuple[str, str], str, int, list[int]]] = []
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
                    merged.append(len(cut_texts))
                    if repair:
                        common = _common(whole, before)
                        cuts[context] = min(common, cuts.get(context, common))
                if seen.setdefault((context, hash(tuple(whole[common:]))), rest) != rest:
                    alike.append(len(cut_texts))
                cut_texts.append((texts, context, common, whole[common:]))
            progress.update(len(part))
    progress.close()
    starts = {context: contexts[context][:cut] for context, cut in cuts.items()}
    for context, start_tokens in starts.items():
        if not start_tokens:  # nothing shared: use the prefix token, as for empty contexts
            starts[context] = [lm.prefix_token_id]
    requests: list[Request] = []
    for texts, context, common, rest_tokens in cut_texts:
        if context in cuts and rest_tokens:
            rest_tokens = contexts[context][cuts[context] : common] + rest_tokens
        requests.append((texts, starts.get(context, contexts[context]), rest_tokens))
    return Encoded(requests, merged, alike)


def encode_alone(lm: Any, continuation: str) -> Request:
    """Tokenize a continuation without a context, as lm-eval does."""
    tokens = lm.tok_encode(continuation, add_special_tokens=False)
    prefix = lm.prefix_token_id
    if tokens[:1] == [prefix]:
        return ("", continuation), tokens[:1], tokens[1:]
    return ("", continuation), [prefix], tokens


def _split(context: str, continuation: str) -> tuple[str, str]:
    """Move trailing spaces of a context to the continuation, as tokens begin with spaces."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the first tokens that two texts share."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _encode(lm: Any, texts: list[str]) -> list[list[int]]:
    """Tokenize texts as in training: without the tokenizer's end tokens."""
    return text_tokens.encode(lm.tokenizer, texts, adds_special_tokens(lm))


@contextmanager
def _parallel() -> Iterator[None]:
    """Let the tokenizer use all cores inside a ``with`` block, which must not fork."""
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
