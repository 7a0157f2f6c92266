"""How text becomes tokens, the same in training and in scoring.

A text gets the special tokens that its tokenizer puts before it (BOS), unless it begins with them
already, and never those it puts after it (EOS): a target goes on where its prompt ends. Whoever
ends a document or a target writes the end token itself.

Tokenizers are those of transformers, or of the ``tokenizers`` library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from .errors import InputError

PROBES = ("a", "1", "A", ".", "\n")


class TokenizerError(InputError):
    """A tokenizer whose special tokens cannot be told from the text; the message says so."""


@dataclass(frozen=True)
class SpecialTokens:
    """Tokens that a tokenizer adds to a text by itself.

    Args:
        before: ids put before it.
        after: ids put after it.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


def special_tokens(tokenizer: Any, texts: Sequence[str] = PROBES) -> SpecialTokens:
    """Which tokens a tokenizer adds to a text by itself.

    Args:
        texts: tried one after the other until one has a token of its own.

    Raises:
        TokenizerError: none has, or what is added is not around the text.
    """
    for text in texts:
        [plain], [full] = (_tokens(tokenizer, [text], special) for special in (False, True))
        for start in range(len(full) - len(plain) + 1) if plain else ():
            stop = start + len(plain)
            if full[start:stop] == plain:
                return SpecialTokens(tuple(full[:start]), tuple(full[stop:]))
    raise TokenizerError("the tokenizer's special tokens cannot be told from those of a text")


def encode(tokenizer: Any, texts: Sequence[str], special: bool = True) -> list[list[int]]:
    """Tokens of texts.

    Args:
        special: put the special tokens before each text that the tokenizer puts there.

    Returns:
        A list of ids for each text.

    Raises:
        TokenizerError: as :func:`special_tokens`.
    """
    plain = _tokens(tokenizer, texts, False)
    if not special or not texts:
        return plain
    before = special_tokens(tokenizer, [*texts[:1], *PROBES]).before
    if not before:
        return plain
    begins = text_of(tokenizer, before)
    return [
        tokens if text.startswith(begins) else [*before, *tokens]
        for text, tokens in zip(texts, plain, strict=True)
    ]


def embedded(model: Any) -> int | None:
    """Tokens that a Hugging Face model has embeddings for; None where it does not say."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError):
        return None


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the largest id of a tokenizer: its ids may have gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def check_embedded(tokens: Iterable[Sequence[int]], embeddings: int | None, tokenizer: Any) -> None:
    """Refuse tokens that a model has no embeddings for.

    A tokenizer may have more tokens than its model, as long as no text holds one of them.

    Args:
        tokens: ids of each text; not looked at where the tokenizer has no more tokens than the
            model.
        embeddings: as :func:`embedded` counts them; None: nothing is checked.

    Raises:
        TokenizerError: naming the first such token.
    """
    if embeddings is None or (size := vocabulary_size(tokenizer)) <= embeddings:
        return
    for ids in tokens:
        if (largest := max(ids, default=0)) >= embeddings:
            raise TokenizerError(
                f"the tokenizer has {size:,} tokens, the model embeddings for {embeddings:,}: "
                f"token {largest} ({text_of(tokenizer, [largest])!r}) of a text has none; they "
                "were not made for each other"
            )


def target_start(prompt: Sequence[int], whole: Sequence[int]) -> int:
    """Where the target begins in the tokens of prompt and target together.

    That is the first token that the prompt alone has not: where tokens merge over the boundary,
    the merged token is the first one to predict.

    >>> target_start([5, 6], [5, 6, 7]), target_start([5, 6], [5, 67])
    (2, 1)
    """
    pairs = zip(prompt, whole, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def text_of(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of tokens, special ones written out."""
    found: str = tokenizer.decode(list(tokens), skip_special_tokens=False)
    return found


def _tokens(tokenizer: Any, texts: Sequence[str], special: bool) -> list[list[int]]:
    """As the tokenizer makes them, with all it adds or without anything."""
    if not texts:
        return []
    if callable(tokenizer):
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, **options)[
            "input_ids"
        ]
        return found
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
    return [encoding.ids for encoding in encoded]
