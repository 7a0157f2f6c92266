"""Strict JSON for files from any source: no repeated names, bounded numbers, bounded nesting.

Python's ``json`` silently takes the last value of a repeated name and reads ``1e999999`` as
infinity. It also accepts deep nesting and long integers on which later code fails.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from .errors import InputError

BOM = b"\xef\xbb\xbf"

DEPTH = 100  # most levels of objects and lists
DIGITS = 300  # most digits of a whole number, so that a float can hold it
SHOWN = 80  # most characters of a value that a message quotes
SEAL = "sha256"  # field of a sealed record


class StrictError(ValueError):
    """JSON that Python accepts and this module refuses; the message says why."""


class RepeatedNameError(StrictError):
    """Repeated name in a JSON object."""


class LineError(ValueError):
    """Line that is not valid JSON; the message is the end of a sentence that says why."""


def line_value(line: bytes, first: bool = False) -> Any:
    """Parse one line of a JSONL file.

    Args:
        line: bytes of the line, with or without the newline.
        first: allow a byte-order mark, as on the first line of a file.

    Raises:
        LineError: the line is not JSON, or holds half of a surrogate pair.

    >>> line_value(b'\\xef\\xbb\\xbf{"a": 1}\\r\\n', first=True)
    {'a': 1}
    >>> line_value(b"[" * 50_000)
    Traceback (most recent call last):
    ...
    growloop.core.strict_json.LineError: it is nested more than 100 levels deep
    """
    if first:
        line = line.removeprefix(BOM)
    try:
        value = loads(line.decode())
        surrogate = half_character(value) if b"\\u" in line else None
    except UnicodeDecodeError as error:
        raise LineError("not UTF-8 text") from error
    except RecursionError as error:
        raise LineError("nested too deep") from error
    except StrictError as error:
        raise LineError(str(error)) from error
    except ValueError as error:
        raise LineError("not JSON") from error
    if surrogate is not None:
        raise LineError(surrogate)
    return value


def half_character(value: Any) -> str | None:
    """Describe the first lone surrogate in the strings of a value; None if there is none.

    UTF-8 cannot encode half of a surrogate pair.

    >>> half_character({"a": "\\ud83d"})
    '\\\\ud83d is half a character, which is not text'
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        return f"{half} is half a character, which is not text"
    return None


class FileError(InputError):
    """File that cannot be used; the message names it and says why."""


def loads(text: str | bytes, **options: Any) -> Any:
    """Parse a JSON text.

    Args:
        options: keyword arguments of :class:`json.JSONDecoder`.

    Raises:
        ValueError: the text is not JSON.
        RepeatedNameError: an object has a name twice.
        StrictError: a number or the nesting is out of bounds.

    >>> loads('{"a": 1, "b": {"a": 2}}')
    {'a': 1, 'b': {'a': 2}}
    """
    decoder = json.JSONDecoder(**{**_HOOKS, **options}) if options else _DECODER
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    if not isinstance(text, str):
        raise TypeError(f"JSON is a text, not {type(text).__name__}")
    try:
        value = decoder.decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise _too_deep() from None
    check_depth(value)
    return value


def whole(text: str, base: int = 10) -> int:
    """Parse a whole number of at most 300 digits.

    Raises:
        StrictError: the number has more digits.
    """
    if len(text) > DIGITS:
        raise StrictError(f"a whole number of {len(text):,} digits: {DIGITS} are the most")
    return int(text, base)


def real(text: str) -> float:
    """Parse a number with a point or an exponent.

    Raises:
        StrictError: the number is too large for a float.

    >>> real("1e-3")
    0.001
    """
    number = float(text)
    if math.isinf(number) and "inf" not in text.lower():
        raise StrictError(f"the number {short(text)} is too large")
    return number


def check_depth(value: Any) -> None:
    """Refuse more than 100 levels of nested lists and objects.

    Raises:
        StrictError: the value is nested deeper.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise _too_deep()


def short(value: object) -> str:
    """Format a value for a message: the string itself, else its ``repr``, at most 80 characters."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 2] + "…"


def read_object(path: Path, **types: type | tuple[type, ...]) -> dict[str, Any]:
    """Read the JSON object in a file and check the types of its fields.

    Args:
        path: file to read.
        types: field -> allowed type, or tuple of types. A field that allows ``NoneType`` may be
            missing. ``int`` excludes true and false; ``float`` includes whole numbers.

    Raises:
        FileError: the file is damaged; the message names the file and the field.
        FileNotFoundError: there is no such file.
    """
    try:
        content = loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is damaged: byte {error.start + 1} is not UTF-8") from None
    except StrictError as error:
        raise FileError(f"{path} is damaged: {error}") from None
    except ValueError as error:
        raise FileError(f"{path} is damaged: not JSON ({str(error)[:SHOWN]})") from None
    if not isinstance(content, dict):
        raise FileError(f"{path} is damaged: it holds no object")
    if problem := fields_problem(content, **types):
        raise FileError(f"{path} is damaged: {problem}")
    return content


def fields_problem(fields: dict[str, Any], /, **types: type | tuple[type, ...]) -> str | None:
    """Describe the first field of a wrong type; None if all are right.

    Args:
        fields: name -> value.
        types: allowed types, as in :func:`read_object`.

    >>> fields_problem({"step": True}, step=int)
    'step is not a whole number'
    """
    for name, kind in types.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        value = fields.get(name)
        if name not in fields and type(None) not in kinds:
            return f"{name} is missing"
        allowed = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
            return f"{name} is not {_NAMES.get(kinds[0], kinds[0].__name__)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} is {value}"
    return None


_NAMES = {
    int: "a whole number", float: "a number", str: "text", list: "a list", dict: "an object",
    bool: "true or false",
}  # fmt: skip


def sealed(fields: dict[str, Any]) -> dict[str, Any]:
    """Add a SHA-256 over all fields, as JSON holds them.

    :func:`seal_problem` detects a record that was damaged or edited later.

    >>> seal_problem(sealed({"n": 1})), seal_problem(sealed({"n": 1}) | {"n": 2})
    (None, 'it does not fit its own sha256: it was changed')
    """
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return {**plain, SEAL: _digest(plain)}


def seal_problem(record: dict[str, Any]) -> str | None:
    """Describe a broken seal; None if it fits, or for records of earlier versions without one."""
    if SEAL in record and record[SEAL] != _digest(record):
        return f"it does not fit its own {SEAL}: it was changed"
    return None


def _digest(fields: dict[str, Any]) -> str:
    content = {name: value for name, value in fields.items() if name != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _too_deep() -> StrictError:
    return StrictError(f"it is nested more than {DEPTH} levels deep")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = repr(next(name for name in names if names.count(name) > 1))
        raise RepeatedNameError(f"the field {short(repeated)} comes twice")
    return fields


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _no_repeats,
    "parse_int": whole,
    "parse_float": real,
}
_DECODER = json.JSONDecoder(**_HOOKS)  # cached: building one takes longer than parsing a line
