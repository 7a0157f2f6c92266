"""Tokenization of text, the same in training and in scoring.

A text begins with the special tokens that its tokenizer puts before it (BOS), unless the text
itself begins with them. Tokens that the tokenizer puts after a text (EOS) are never added, because
a target continues its prompt; callers add the end token of a document or target themselves.

Tokenizers are those of transformers, or of the ``tokenizers`` library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from .errors import InputError

PROBES = ("a", "1", "A", ".", "\n")  # texts that show which special tokens are added


class TokenizerError(InputError):
    """Tokenizer that does not fit the text or the model; the message says why."""


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens that a tokenizer adds to every text.

    Args:
        before: ids before the text.
        after: ids after the text.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


def special_tokens(tokenizer: Any, texts: Sequence[str] = PROBES) -> SpecialTokens:
    """Detect the special tokens that a tokenizer adds to every text.

    Args:
        texts: probes, tried in order until one has tokens.

    Raises:
        TokenizerError: no probe has tokens, or special tokens are added inside the text.
    """
    for text in texts:
        [plain], [full] = (_tokens(tokenizer, [text], special) for special in (False, True))
        for start in range(len(full) - len(plain) + 1) if plain else ():
            stop = start + len(plain)
            if full[start:stop] == plain:
                return SpecialTokens(tuple(full[:start]), tuple(full[stop:]))
    raise TokenizerError(
        "the tokenizer's special tokens cannot be told apart from the tokens of a text"
    )


def encode(tokenizer: Any, texts: Sequence[str], special: bool = True) -> list[list[int]]:
    """Tokenize texts.

    Args:
        special: begin each text with the special tokens that the tokenizer puts before it.

    Returns:
        Token ids of each text.

    Raises:
        TokenizerError: as :func:`special_tokens`.

    Example::

        encode(llama_tokenizer, ["a b"])  # [[1, 263, 289]]: BOS, then the text
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


def num_embeddings(model: Any) -> int | None:
    """Return the number of rows of a Hugging Face model's input embedding; None if unknown."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError):
        return None


def vocabulary_size(tokenizer: Any) -> int:
    """Return one more than the largest id of a tokenizer, whose ids may have gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def check_embedded(tokens: Iterable[Sequence[int]], embeddings: int | None, tokenizer: Any) -> None:
    """Refuse tokens that a model has no embeddings for.

    A tokenizer may have more tokens than its model, as long as no text contains them.

    Args:
        tokens: ids of each text; not read if the model has embeddings for the whole tokenizer.
        embeddings: number of embeddings, as from :func:`num_embeddings`; None skips the check.

    Raises:
        TokenizerError: a text has such a token; the message names the first one.
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
    """Return the index of the first target token in the tokens of prompt and target together.

    Args:
        prompt: tokens of the prompt alone.
        whole: tokens of prompt and target together.

    That is the first token that differs from the tokens of the prompt alone. If tokens merge over
    the boundary, the merged token is the first to predict.

    >>> target_start([5, 6], [5, 6, 7]), target_start([5, 6], [5, 67])
    (2, 1)
    """
    pairs = zip(prompt, whole, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def text_of(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Decode tokens, special tokens included."""
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=False)
    return text


def _tokens(tokenizer: Any, texts: Sequence[str], special: bool) -> list[list[int]]:
    """Tokenize texts with all special tokens of the tokenizer, or with none."""
    if not texts:
        return []
    if callable(tokenizer):
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, **options)[
            "input_ids"
        ]
        return ids
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
    return [encoding.ids for encoding in encoded]
