"""Pydantic types of the text fields of records, which appear on pages and in file names.

Markup is allowed, because pages escape it. Control characters, direction marks and unpaired
surrogates are refused.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

DIRECTION_MARKS = {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)
}
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def printable(text: str) -> str:
    """Return ``text``; raise ValueError if it has an unprintable character."""
    for place, letter in enumerate(text):
        bad = unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        if letter in DIRECTION_MARKS or (bad and letter not in "\n\t"):
            raise ValueError(f"character {place + 1} (U+{ord(letter):04X}) cannot be printed")
    return text


def one_line(text: str) -> str:
    """Return ``text``; raise ValueError if it is not one printable line without outer blanks."""
    if not text.strip():
        raise ValueError("it is empty")
    if text != text.strip() or "\n" in text or "\t" in text:
        raise ValueError("it must be one line without blanks around it")
    return printable(text)


def no_path(text: str) -> str:
    """Return ``text``; raise ValueError if it is a path. A slash inside a hub id is allowed.

    >>> no_path("HuggingFaceTB/SmolLM2-135M")
    'HuggingFaceTB/SmolLM2-135M'
    """
    parts = text.replace("\\", "/").split("/")
    if text.startswith("~") or "\\" in text or DRIVE.match(text) or set(parts) & {"", ".", ".."}:
        raise ValueError("it must be a name, not a path")
    return text


Name = Annotated[
    str, StringConstraints(max_length=200), AfterValidator(one_line), AfterValidator(no_path)
]
"""Name of a model, task or study."""

Line = Annotated[str, StringConstraints(max_length=1000), AfterValidator(one_line)]
"""One line of text, e.g. a source."""

Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(printable)]
"""Text of several lines: a command or a note."""

Notation = Annotated[
    str,
    StringConstraints(max_length=10_000, pattern=r"^[0-9][0-9x×, -]*$"),
    AfterValidator(one_line),
]
"""Notation of a schedule, e.g. 4-4x4-4 or 0-11,8-11,12-23."""
