"""A tokenizer for laptop-scale studies: one token a name, number, sign or known word.

A number below 100, a letter standing alone, a sign, a line end, each word of the evaluation
templates and some others are one token; all other words are spelt letter by letter. It is an
ordinary WordPiece ``tokenizer.json``, which reads any lower-case ASCII text.
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
OTHER_WORDS = 16  # every so many words of the list of copying is one


@cache
def words() -> tuple[str, ...]:
    """Words that are one token: those of the evaluation templates, and some common ones."""
    found: dict[str, None] = {}
    for path in sorted(FOLDER.glob("*.j2")):
        plain = re.sub(r"{[{%].*?[%}]}", " ", path.read_text(encoding="utf-8"))
        found |= dict.fromkeys(re.findall(r"[a-z]{2,}", plain.lower()))
    lines = WORDS_FILE.read_text(encoding="utf-8").splitlines()
    listed = [line.strip() for line in lines if line and not line.startswith("#")]
    return tuple(found | dict.fromkeys(listed[::OTHER_WORDS]))


@cache
def vocabulary() -> dict[str, int]:
    """Every token by its text; pieces inside a word begin with ``##``."""
    inside = string.ascii_lowercase + string.digits
    tokens = [END, UNKNOWN, "\n", "____", *string.punctuation, *string.ascii_lowercase]
    tokens += [str(number) for number in range(NUMBERS)]
    tokens += [CONTINUED + character for character in inside]
    return {token: i for i, token in enumerate([*tokens, *words()])}


def symbol_tokenizer() -> Any:
    """The tokenizer, of the ``tokenizers`` library."""
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
    """Tokens of texts that are one token each: ``(len(texts),)``."""
    known = vocabulary()
    return np.array([known[text] for text in texts], np.int64)


def spelt(text: str) -> list[int]:
    """Tokens of a word of lower-case letters."""
    known = vocabulary()
    if text in known:
        return [known[text]]
    return [known[CONTINUED * (i > 0) + character] for i, character in enumerate(text)]
