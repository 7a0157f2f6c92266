"""Turns lm-eval's requests into tokens, many texts at a time.

The same tokens as ``TemplateLM.loglikelihood`` makes one text after the other: a context ends
before its trailing spaces, and a continuation is what context and continuation together have more
than the context alone. Options of a question share one list of the context's tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.text_tokens import encode
from .bars import bar
from .text_tokens import adds_special_tokens

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""The texts, the tokens of the context, the tokens of the continuation."""
CHUNK = 1024  # texts tokenized at once: their tokens are held only as long


def encode_pairs(lm: Any, pairs: Sequence[tuple[str, str]], quiet: bool = False) -> list[Request]:
    """The tokens of non-empty contexts and their continuations.

    Args:
        lm: the ``HFLM`` whose tokenizer and settings count.
        pairs: texts of context and continuation.
    """
    same: dict[int, int] = {}  # one object a token, instead of one each time it occurs
    contexts: dict[str, list[int]] = {}
    found: list[Request] = []
    progress = bar("Tokenizing", total=len(pairs), unit=" requests", quiet=quiet)
    with _parallel():
        for start in range(0, len(pairs), CHUNK):
            part = [(texts, *_split(*texts)) for texts in pairs[start : start + CHUNK]]
            new = dict.fromkeys(context for _, context, _ in part if context not in contexts)
            for context, tokens in zip(new, _encode(lm, list(new)), strict=True):
                contexts[context] = [same.setdefault(token, token) for token in tokens]
            wholes = _encode(lm, [context + rest for _, context, rest in part])
            for (texts, context, _), whole in zip(part, wholes, strict=True):
                before = contexts[context]
                found.append((texts, before, list(whole[len(before) :])))
            progress.update(len(part))
    progress.close()
    return found


def _split(context: str, continuation: str) -> tuple[str, str]:
    """Spaces that end a context belong to what follows: tokens begin with them."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _encode(lm: Any, texts: list[str]) -> list[list[int]]:
    """Tokens of texts, as training makes them."""
    return encode(lm.tokenizer, texts, adds_special_tokens(lm))


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
