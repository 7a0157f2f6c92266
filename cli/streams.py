"""Standard output and error of a command: what cannot be printed there stops no work."""

from __future__ import annotations

import errno
import io
import os
import sys
import unicodedata
from typing import Any

LONGEST = 2000  # characters of a message


def prepare() -> None:
    """Let streams take any character, and let work go on when nobody reads standard error."""
    if sys.stderr is sys.__stderr__ and _is_descriptor(sys.stderr, 2):
        sys.stderr = _lasting(sys.stderr)
    for stream in (sys.stdout, sys.stderr):  # a terminal may not know every character
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def message(error: object) -> str:
    """Format a message for a terminal: bounded in length, without control codes.

    >>> message("no task '\\x1b[2J'")
    "no task '\\\\x1b[2J'"
    """
    text = str(error)
    text = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(
        c if c == "\n" or unicodedata.category(c) != "Cc" else ascii(c)[1:-1] for c in text
    )


class _Lasting(io.FileIO):
    """Output file that drops what is written after its reader has closed the pipe."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            return memoryview(data).nbytes


def _lasting(stream: Any) -> io.TextIOWrapper:
    stream.flush()
    raw = _Lasting(2, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True
    )


def _is_descriptor(stream: Any, number: int) -> bool:
    try:
        os.fstat(number)
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):  # closed, or replaced
        return False
