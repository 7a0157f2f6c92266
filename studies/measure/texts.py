"""The texts that diagnostics run on: a file of prompts, or generated questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...core.errors import InputError, whole
from ...core.statistics import check_items
from ...core.strict_json import RepeatedNameError, loads
from ...core.text_tokens import encode
from ...primitives import generate

if TYPE_CHECKING:
    from ..records import StudyRecord

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


def check_skip_front(count: int, tokens: int) -> None:
    """Refuse a front that leaves no token to take away and a later one to look at."""
    whole("skip_front", count, 0, tokens - 2)


def front_skipped(record: StudyRecord) -> int:
    """How many tokens at the front of each text a study of effects left alone.

    Records from before the option do not say it: they took the first token away as well.
    """
    return int(record.cell.options.get("skip_front", 0))


def read_texts(
    tokenizer: Any,
    file: str | None,
    count: int,
    tokens: int,
    seed: int,
    split: str = "test",
    without: frozenset[str] = frozenset(),
    distinct: bool = True,
) -> Texts:
    """The first ``count`` texts, each cut to ``tokens`` tokens.

    Args:
        file: JSON lines with a field text, question, prompt or context, or plain text with empty
            lines between; None for generated questions (variable assignment in code).
        split: of generated questions.
        without: texts that are left out, to learn from others than are measured.
        distinct: refuse texts that are the same: they would count as several.

    Raises:
        InputError: a file that cannot be read, too few texts, or one of less than four tokens.
    """
    chosen = first_texts(file, count, seed, split, without)
    source = f"variable_assignment_code_d{DEPTH}" if file is None else Path(file).name
    digest = hashlib.sha256("\0".join(chosen).encode()).hexdigest()
    rows = [row[:tokens] for row in encode(tokenizer, chosen)]
    for text, row in zip(chosen, rows, strict=True):
        if len(row) < 4:
            raise InputError(f"a text has only {len(row)} tokens: {text[:40]!r}")
    if distinct and (differ := len(set(map(tuple, rows)))) < len(rows):
        raise InputError(
            f"only {differ} of {len(rows)} texts differ in their first {tokens} tokens: give more "
            "--tokens, or other texts"
        )
    return Texts(tuple(torch.tensor([row]) for row in rows), source, digest)


def digits(values: Iterable[float]) -> list[float]:
    """Numbers of texts as a record keeps them: five digits each.

    >>> digits([0.123456789, 1234.5678])
    [0.12346, 1234.6]
    """
    return [float(f"{value:.5g}") for value in values]


def first_texts(
    file: str | None,
    count: int,
    seed: int,
    split: str = "test",
    without: frozenset[str] = frozenset(),
) -> list[str]:
    """Those that :func:`read_texts` reads, as they are written."""
    if file is None:
        style = {"style": "code", "depth": DEPTH}
        items = generate("variable_assignment", count, split, seed, **style)
        return [item.prompt for item in items]
    written = [text for text in _read(file) if text not in without]
    _enough(written, count, file)
    return written[:count]


def count_texts(file: str, without: frozenset[str] = frozenset()) -> int:
    """How many texts a file has."""
    return sum(text not in without for text in _read(file))


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
            row = loads(line)
        except RepeatedNameError as error:
            raise InputError(f"{file}, line {number}: {error}") from error
        except ValueError as error:
            raise InputError(f"{file}, line {number} is not JSON") from error
        names = [name for name in FIELDS if isinstance(row, dict) and name in row]
        if not names or not isinstance(row[names[0]], str):
            raise InputError(f"{file}, line {number} has none of the fields {', '.join(FIELDS)}")
        texts.append(row[names[0]])
    return texts
