"""JSON in which no name comes twice in an object: Python would take the last value silently."""

from __future__ import annotations

import json
from typing import Any

BOM = b"\xef\xbb\xbf"


class RepeatedNameError(ValueError):
    """A name that comes twice in an object."""


class LineError(ValueError):
    """A line that holds no JSON; the message says why, as the end of a sentence."""


def line_value(line: bytes, first: bool = False) -> Any:
    """The value of a line of a JSONL file.

    Args:
        line: with or without its end.
        first: of the file: it may begin with a byte-order mark.

    Raises:
        LineError: it is no JSON, or holds what is no text.

    >>> line_value(b'\\xef\\xbb\\xbf{"a": 1}\\r\\n', first=True)
    {'a': 1}
    >>> line_value(b"[" * 50_000)
    Traceback (most recent call last):
    ...
    growloop.core.strict_json.LineError: nested too deep
    """
    if first:
        line = line.removeprefix(BOM)
    try:
        value = loads(line.decode())
        half = half_character(value) if b"\\u" in line else None
    except UnicodeDecodeError as error:
        raise LineError("not UTF-8 text") from error
    except RecursionError as error:
        raise LineError("nested too deep") from error
    except RepeatedNameError as error:
        raise LineError(str(error)) from error
    except ValueError as error:
        raise LineError("not JSON") from error
    if half is not None:
        raise LineError(half)
    return value


def half_character(value: Any) -> str | None:
    """What is wrong with a value whose texts hold a lone surrogate, as no text does; or None.

    >>> half_character({"a": "\\ud83d"})
    '\\\\ud83d is half a character, which is no text'
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        return f"{half} is half a character, which is no text"
    return None


def loads(text: str | bytes, **options: Any) -> Any:
    """The value of a JSON text.

    Args:
        options: as :func:`json.loads` takes them.

    Raises:
        ValueError: text that is not JSON; :class:`RepeatedNameError` for a name given twice.

    >>> loads('{"a": 1, "b": {"a": 2}}')
    {'a': 1, 'b': {'a': 2}}
    """
    return json.loads(text, object_pairs_hook=_no_repeats, **options)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = repr(next(name for name in names if names.count(name) > 1))
        short = twice if len(twice) <= 80 else twice[:78] + "…"
        raise RepeatedNameError(f"the field {short} comes twice")
    return found
