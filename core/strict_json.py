"""JSON as files from anywhere are read: no name twice in an object, and bounded.

Python would take the last value of a repeated name silently, read ``1e999999`` as infinity, and
hand on nesting or whole numbers on which the code after it fails.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from .errors import InputError

BOM = b"\xef\xbb\xbf"

DEPTH = 100  # levels of objects and lists
DIGITS = 300  # of a whole number: every such number is a float too
SHOWN = 80  # characters of a value that a message quotes
SEAL = "sha256"  # field of a sealed record


class StrictError(ValueError):
    """JSON that is refused here although Python reads it; the message says why."""


class RepeatedNameError(StrictError):
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
    except StrictError as error:
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


class FileError(InputError):
    """A file that cannot be used; the message names it and says what is wrong."""


def loads(text: str | bytes, **options: Any) -> Any:
    """The value of a JSON text.

    Args:
        options: as :func:`json.loads` takes them.

    Raises:
        ValueError: text that is not JSON; :class:`RepeatedNameError` for a name given twice,
            :class:`StrictError` for a number or a nesting out of bounds.

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
    """A whole number of at most 300 digits.

    Raises:
        StrictError: one of more.
    """
    if len(text) > DIGITS:
        raise StrictError(f"a whole number of {len(text):,} digits: {DIGITS} are the most")
    return int(text, base)


def real(text: str) -> float:
    """A number with a point or an exponent, refused where a float cannot hold it.

    >>> real("1e-3")
    0.001
    """
    number = float(text)
    if math.isinf(number) and "inf" not in text.lower():
        raise StrictError(f"the number {short(text)} is too large")
    return number


def check_depth(value: Any) -> None:
    """Refuse lists and objects within each other, more than 100 levels.

    Raises:
        StrictError: saying so.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        level = [
            inside
            for outer in level
            for inside in (outer.values() if isinstance(outer, dict) else outer)
            if type(inside) is dict or type(inside) is list
        ]
        if not level:
            return
    raise _too_deep()


def short(given: object) -> str:
    """``given`` as it can stand in a message: not too long, also where its ``repr`` would be."""
    text = given if isinstance(given, str) else repr(given)
    return text if len(text) <= SHOWN else text[: SHOWN - 2] + "…"


def read_object(path: Path, **types: type | tuple[type, ...]) -> dict[str, Any]:
    """The JSON object in a file, whose fields have the types given.

    Args:
        path: of the file.
        types: field -> its type, or several; with ``NoneType`` among them it may be missing.
            ``int`` takes no truth value, ``float`` whole numbers too.

    Raises:
        FileError: naming the file, and the field that is to blame.
        FileNotFoundError: there is no such file.
    """
    try:
        found = loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is damaged: byte {error.start + 1} is not UTF-8") from None
    except StrictError as error:
        raise FileError(f"{path} is damaged: {error}") from None
    except ValueError as error:
        raise FileError(f"{path} is damaged: not JSON ({str(error)[:SHOWN]})") from None
    if not isinstance(found, dict):
        raise FileError(f"{path} is damaged: it holds no object")
    if wrong := fields_problem(found, **types):
        raise FileError(f"{path} is damaged: {wrong}")
    return found


def fields_problem(found: dict[str, Any], **types: type | tuple[type, ...]) -> str | None:
    """What is wrong with the fields of an object, for types as in :func:`read_object`; or None.

    >>> fields_problem({"step": True}, step=int)
    'step is no whole number'
    """
    for name, kind in types.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        value = found.get(name)
        if name not in found and type(None) not in kinds:
            return f"{name} is missing"
        allowed = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
            return f"{name} is no {_NAMES.get(kinds[0], kinds[0].__name__)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} is {value}"
    return None


_NAMES = {
    int: "whole number", float: "number", str: "text", list: "list", dict: "object",
    bool: "truth value",
}  # fmt: skip


def sealed(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as JSON holds them, with a SHA-256 over all of them.

    A record that was damaged or edited no longer has it: :func:`seal_problem`.
    """
    plain: dict[str, Any] = json.loads(json.dumps(fields))
    return {**plain, SEAL: _digest(plain)}


def seal_problem(found: dict[str, Any]) -> str | None:
    """What is wrong with a sealed record, or None; records of earlier versions have no seal."""
    if SEAL in found and found[SEAL] != _digest(found):
        return f"it does not fit its own {SEAL}: it was changed"
    return None


def _digest(fields: dict[str, Any]) -> str:
    content = {name: value for name, value in fields.items() if name != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _too_deep() -> StrictError:
    return StrictError(f"it is nested more than {DEPTH} levels deep")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = repr(next(name for name in names if names.count(name) > 1))
        raise RepeatedNameError(f"the field {short(twice)} comes twice")
    return found


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _no_repeats,
    "parse_int": whole,
    "parse_float": real,
}
_DECODER = json.JSONDecoder(**_HOOKS)  # made once: making one takes longer than a short line
