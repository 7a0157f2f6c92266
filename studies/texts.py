"""The texts that diagnostics run on: a file of prompts, or generated questions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..primitives import generate
from ..primitives.errors import InputError, whole
from .intervals import check_items

FIELDS = ("text", "question", "prompt", "context")
DEPTH = 2  # of the generated questions


@dataclass(frozen=True)
class Texts:
    """Texts as tokens.

    Args:
        ids: ``(1, tokens)`` each.
        source: a file's name or what was generated.
        fingerprint: SHA-256 of the texts used.
    """

    ids: tuple[Tensor, ...]
    source: str
    fingerprint: str

    @property
    def about(self) -> dict[str, Any]:
        """What a record says of them."""
        return {"texts": self.source, "fingerprint": self.fingerprint, "n": len(self.ids)}


def check_texts(file: str | None, count: int, tokens: int) -> None:
    """Refuse what cannot be read, before the slow part."""
    whole("texts", count, 1, 10**6)
    check_items(count, "texts")
    whole("tokens", tokens, 4, 10**6)
    if file is not None:
        _enough(_read(file), count, file)


def read_texts(
    tokenizer: Any,
    file: str | None,
    count: int,
    tokens: int,
    seed: int,
    skip: int = 0,
    split: str = "test",
) -> Texts:
    """The first ``count`` texts, each cut to ``tokens`` tokens.

    Args:
        file: JSON lines with a field text, question, prompt or context, or plain text with empty
            lines between; None for generated questions (variable assignment in code).
        skip: leave out so many texts first, to learn from others than are measured.
        split: of generated questions.

    Raises:
        InputError: a file that cannot be read, too few texts, or one of less than four tokens.
    """
    if file is None:
        style = {"style": "code", "depth": DEPTH}
        items = generate("variable_assignment", skip + count, split, seed, **style)
        written, source = [item.prompt for item in items], f"variable_assignment_code_d{DEPTH}"
    else:
        written, source = _read(file), Path(file).name
        _enough(written, skip + count, file)
    chosen = written[skip : skip + count]
    digest = hashlib.sha256("\0".join(chosen).encode()).hexdigest()
    rows = [tokenizer(text, add_special_tokens=True).input_ids[:tokens] for text in chosen]
    for text, row in zip(chosen, rows, strict=True):
        if len(row) < 4:
            raise InputError(f"a text has only {len(row)} tokens: {text[:40]!r}")
    return Texts(tuple(torch.tensor([row]) for row in rows), source, digest)


def count_texts(file: str) -> int:
    """How many texts a file has."""
    return len(_read(file))


def _enough(texts: list[str], count: int, file: str) -> None:
    if len(texts) < count:
        raise InputError(f"{file} has {len(texts)} texts, {count} are needed")


def _read(file: str) -> list[str]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no text file {file}")
    try:
        content = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"cannot read {file} as text") from error
    if path.suffix not in (".jsonl", ".json"):
        return [part.strip() for part in content.split("\n\n") if part.strip()]
    texts = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{file}, line {number} is not JSON") from error
        names = [name for name in FIELDS if isinstance(row, dict) and name in row]
        if not names or not isinstance(row[names[0]], str):
            raise InputError(f"{file}, line {number} has none of the fields {', '.join(FIELDS)}")
        texts.append(row[names[0]])
    return texts
