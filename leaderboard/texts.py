"""Texts that a record may hold. Records come from anywhere and end on pages and as file names.

Markup is let through, as it is harmless where it is escaped; what no writing system needs is not:
control characters, marks that turn the direction of the text, halves of surrogate pairs.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

TURNING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def printable(text: str) -> str:
    """``text``, refused if it has characters that are not to be seen."""
    for place, letter in enumerate(text):
        bad = unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        if letter in TURNING or (bad and letter not in "\n\t"):
            raise ValueError(f"character {place + 1} (U+{ord(letter):04X}) cannot be printed")
    return text


def one_line(text: str) -> str:
    """``text``, refused if it is blank, has blanks around it, or more than one line."""
    if not text.strip():
        raise ValueError("it is empty")
    if text != text.strip() or "\n" in text or "\t" in text:
        raise ValueError("it must be one line without blanks around it")
    return printable(text)


def no_path(text: str) -> str:
    """``text``, refused if it could lead out of a folder. A slash inside, as in a hub id, may be.

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
"""What a model, a task or a study is called."""

Line = Annotated[str, StringConstraints(max_length=1000), AfterValidator(one_line)]
"""One line, e.g. where something is from."""

Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(printable)]
"""A command or a note."""

Notation = Annotated[
    str,
    StringConstraints(max_length=10_000, pattern=r"^[0-9][0-9x×, -]*$"),
    AfterValidator(one_line),
]
"""A schedule, e.g. 4-4x4-4 or 0-11,8-11,12-23."""
