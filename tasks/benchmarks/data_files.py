"""Readers of local data files (JSONL, JSON, Parquet); every row comes with its location.

``.jsonl`` holds an object a line, ``.json`` a list of objects, ``.parquet`` a table as the Hugging
Face hub serves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.strict_json import BOM, half_character, loads

ENDINGS = (".jsonl", ".json", ".parquet")

Placed = tuple[str, Any]
"""``file:line``, and the row."""


def rows(path: Path) -> Iterator[Placed]:
    """Yield the rows of a file.

    Raises:
        InputError: an unreadable file, or other content, with file and line.
    """
    try:
        yield from {".jsonl": _lines, ".json": _array, ".parquet": _table}[path.suffix](path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _lines(path: Path) -> Iterator[Placed]:
    """Yield the rows of a JSONL file."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                value = loads(line.removeprefix(BOM if number == 1 else b"").decode("utf-8"))
            except UnicodeDecodeError as error:
                raise InputError(f"{place}: not UTF-8 text") from error
            except (ValueError, RecursionError) as error:
                cut = "" if line.endswith(b"\n") else ", the file seems to be cut off"
                raise InputError(f"{place}: not JSON ({_reason(error)}){cut}") from error
            if b"\\u" in line:
                _check_whole(value, place)
            yield place, value


def _array(path: Path) -> Iterator[Placed]:
    """Yield the elements of a JSON list, parsed one by one to know their lines."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    decoder = json.JSONDecoder()
    at, line, counted = _skip(text, 0), 1, 0
    if text[at : at + 1] != "[":
        raise InputError(f"{path}:{text.count(chr(10), 0, at) + 1}: must be a list of objects")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        place = f"{path}:{line}"
        try:
            value, after = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{place}: not JSON ({_reason(error)}), or the file is cut off"
            ) from error
        if "\\u" in text[at:after]:
            _check_whole(value, place)
        yield place, value
        at = _skip(text, after)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise InputError(f"{place}: the list does not go on after this, is the file cut off?")
    if text[at + 1 :].strip():
        raise InputError(f"{path}: there is more after the end of the list")


def _check_whole(value: Any, place: str) -> None:
    if half := half_character(value):
        raise InputError(f"{place}: {half}")


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\n", "\r", "\t"}:
        at += 1
    return at


def _reason(error: Exception) -> str:
    return str(getattr(error, "msg", "nested too deep"))


def _table(path: Path) -> Iterator[Placed]:
    """Yield the rows of a Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"reading {path} needs pyarrow: pip install 'growloop[data]'") from error
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a whole Parquet file") from error
    for number in range(1, len(table) + 1):
        try:
            [value] = table.slice(number - 1, 1).to_pylist()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: row {number}: not UTF-8 text") from error
        yield f"{path}: row {number}", value
