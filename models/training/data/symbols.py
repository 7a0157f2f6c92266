"""Symbol tokenizer for laptop-scale studies: one token per name, number, sign or known word.

Numbers below 100, single letters, signs, line ends, the words of the evaluation templates and some
others are one token; other words are spelt letter by letter. It is an ordinary WordPiece
``tokenizer.json`` for lower-case ASCII text.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....primitives.copying import WORDS_FILE
from ....primitives.templating import FOLDER

END, UNKNOWN, CONTINUED = "<|endoftext|>", "<unk>", "##"
NUMBERS = 100
OTHER_WORDS = 16  # every 16th word of copying's list is a token


@cache
def words() -> tuple[str, ...]:
    """Return the words that are one token: those of the evaluation templates, and common ones."""
    template_words: dict[str, None] = {}
    for path in sorted(FOLDER.glob("*.j2")):
        plain = re.sub(r"{[{%].*?[%}]}", " ", path.read_text(encoding="utf-8"))
        template_words |= dict.fromkeys(re.findall(r"[a-z]{2,}", plain.lower()))
    lines = WORDS_FILE.read_text(encoding="utf-8").splitlines()
    listed = [line.strip() for line in lines if line and not line.startswith("#")]
    return tuple(template_words | dict.fromkeys(listed[::OTHER_WORDS]))


@cache
def vocabulary() -> dict[str, int]:
    """Return text -> token id; pieces inside a word begin with ``##``."""
    inside = string.ascii_lowercase + string.digits
    tokens = [END, UNKNOWN, "\n", "____", *string.punctuation, *string.ascii_lowercase]
    tokens += [str(number) for number in range(NUMBERS)]
    tokens += [CONTINUED + character for character in inside]
    return {token: i for i, token in enumerate([*tokens, *words()])}


def symbol_tokenizer() -> Any:
    """Build the tokenizer with the ``tokenizers`` library."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    wordpiece = models.WordPiece(
        vocabulary(), unk_token=UNKNOWN, continuing_subword_prefix=CONTINUED
    )
    tokenizer = Tokenizer(wordpiece)
    tokenizer.add_special_tokens([END, UNKNOWN])
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[ \t\r]+"), "removed"),
            pre_tokenizers.Split(Regex(r"\n|_+|\d+|[^\W\d_]+|[^\w\s]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUED, cleanup=False)
    return tokenizer


def ids(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the ids of texts that are one token each: ``(len(texts),)``."""
    known = vocabulary()
    return np.array([known[text] for text in texts], np.int64)


def spelt(text: str) -> list[int]:
    """Tokenize a word of lower-case letters."""
    known = vocabulary()
    if text in known:
        return [known[text]]
    return [known[CONTINUED * (i > 0) + character] for i, character in enumerate(text)]
