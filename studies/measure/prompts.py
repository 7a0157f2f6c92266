"""Read the prompts that diagnostics run on: from a file, or generated questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, whole
from ...core.statistics import check_items
from ...core.strict_json import LineError, line_value
from ...core.text_tokens import check_embedded, encode, num_embeddings
from ...primitives import generate

if TYPE_CHECKING:
    from torch import Tensor

    from ..records import StudyRecord

FIELDS = ("text", "question", "prompt", "context")
DEPTH = 2  # variable-assignment depth of the generated questions


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts.

    Args:
        ids: token ids, ``(1, tokens)`` per prompt.
        source: name of the file, or of the generated task.
        fingerprint: SHA-256 of the prompts' text.
    """

    ids: tuple[Tensor, ...]
    source: str
    fingerprint: str

    @property
    def metadata(self) -> dict[str, Any]:
        """Record fields: texts (source), fingerprint, n (number of prompts)."""
        return {"texts": self.source, "fingerprint": self.fingerprint, "n": len(self.ids)}


def check_prompts(file: str | None, count: int, tokens: int) -> None:
    """Check numbers and file before the slow part.

    Raises:
        InputError: a number is out of range, or the file is unreadable or too short.
    """
    whole("texts", count, 1, 10**6)
    check_items(count, "texts")
    whole("tokens", tokens, 4, 10**6)
    if file is not None:
        _check_count(_read(file), count, file)


def check_skip_front(count: int, tokens: int) -> None:
    """Check that a token to ablate and a later token remain after the skipped ones."""
    whole("skip_front", count, 0, tokens - 2)


def skipped_front(record: StudyRecord) -> int:
    """Number of tokens at the front of each prompt that a record's study never ablated.

    Records from before the option lack the field: they ablated the first token too.
    """
    return int(record.cell.options.get("skip_front", 0))


def read_prompts(
    tokenizer: Any,
    file: str | None,
    count: int,
    tokens: int,
    seed: int,
    split: str = "test",
    without: frozenset[str] = frozenset(),
    distinct: bool = True,
    model: Any = None,
) -> Prompts:
    """Read and tokenize ``count`` prompts, each cut to ``tokens`` tokens.

    Args:
        file: JSON lines with a field text, question, prompt or context, or plain text with prompts
            separated by empty lines; None for generated questions (variable assignment in code).
        split: split of the generated questions.
        without: prompts to leave out, e.g. the measured ones when training a lens.
        distinct: refuse equal prompts, which would count as several samples.
        model: model that is to read the prompts.

    Raises:
        InputError: the file is unreadable, has too few prompts, or one of less than four tokens.
        TokenizerError: a token that ``model`` has no embedding for.
    """
    import torch

    texts = first_prompts(file, count, seed, split, without)
    source = f"variable_assignment_code_d{DEPTH}" if file is None else Path(file).name
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    rows = [row[:tokens] for row in encode(tokenizer, texts)]
    check_embedded(rows, num_embeddings(model), tokenizer)
    for text, row in zip(texts, rows, strict=True):
        if len(row) < 4:
            raise InputError(f"a prompt has only {len(row)} tokens: {text[:40]!r}")
    if distinct and (differ := len(set(map(tuple, rows)))) < len(rows):
        raise InputError(
            f"only {differ} of {len(rows)} prompts differ in their first {tokens} tokens: give "
            "more --tokens, or other prompts"
        )
    return Prompts(tuple(torch.tensor([row]) for row in rows), source, digest)


def round_digits(values: Iterable[float]) -> list[float]:
    """Round values to five significant digits, as records store them.

    >>> round_digits([0.123456789, 1234.5678])
    [0.12346, 1234.6]
    """
    return [float(f"{value:.5g}") for value in values]


def first_prompts(
    file: str | None,
    count: int,
    seed: int,
    split: str = "test",
    without: frozenset[str] = frozenset(),
) -> list[str]:
    """Return the text of the prompts that :func:`read_prompts` tokenizes."""
    if file is None:
        style = {"style": "code", "depth": DEPTH}
        items = generate("variable_assignment", count, split, seed, **style)
        return [item.prompt for item in items]
    texts = [text for text in _read(file) if text not in without]
    _check_count(texts, count, file)
    return texts[:count]


def count_prompts(file: str, without: frozenset[str] = frozenset()) -> int:
    """Count the prompts of a file, except those in ``without``."""
    return sum(text not in without for text in _read(file))


def _check_count(texts: list[str], count: int, file: str) -> None:
    if len(texts) < count:
        raise InputError(f"{file} has {len(texts)} prompts, {count} are needed")


def _read(file: str) -> list[str]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no text file {file}")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"cannot read {file} as text") from error
    if path.suffix not in (".jsonl", ".json"):
        return [part.strip() for part in content.split("\n\n") if part.strip()]
    texts = []
    lines = content.removesuffix("\n").split("\n") if content else []
    for number, line in enumerate(lines, start=1):
        try:
            row = line_value(line.encode())
        except LineError as error:
            raise InputError(f"{file}, line {number}: {error}") from error
        names = [name for name in FIELDS if isinstance(row, dict) and name in row]
        if not names or not isinstance(row[names[0]], str):
            raise InputError(f"{file}, line {number} has none of the fields {', '.join(FIELDS)}")
        texts.append(row[names[0]])
    return texts
