"""Validation of data set rows against a shape, with errors that name the place.

A shape is a type, a tuple of types, ``[shape]`` for a list of any length, ``{key: shape}`` for an
object (a key ending in ``?`` may be missing), or :class:`Each` for an object with any keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.errors import InputError, shown

NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "a truth"}


@dataclass(frozen=True)
class Each:
    """Object whose values all have one shape."""

    shape: Any


def take(value: Any, shape: Any, place: str, name: str = "") -> Any:
    """Validate ``value`` and reduce it to the fields of ``shape``.

    Args:
        place: location of the row, e.g. ``drop/validation.jsonl:17``.
        name: path of the value inside the row.

    >>> take({"a": ["x"], "b": 1}, {"a": [str]}, "f:1")
    {'a': ['x']}

    Raises:
        InputError: another shape; the message begins with ``place``.
    """
    match shape:
        case dict():
            _require(isinstance(value, dict), value, "an object", place, name)
            return _members(value, shape, place, name)
        case list():
            _require(isinstance(value, list), value, "a list", place, name)
            return [take(v, shape[0], place, f"{name}[{i}]") for i, v in enumerate(value)]
        case Each():
            _require(isinstance(value, dict), value, "an object", place, name)
            return {
                key: take(member, shape.shape, place, f"{name}.{key}")
                for key, member in value.items()
            }
        case tuple():
            allowed = shape
        case _:
            allowed = (shape,)
    fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
    _require(fits, value, " or ".join(NAMES[kind] for kind in allowed), place, name)
    return value


def _members(value: dict[str, Any], shape: dict[str, Any], place: str, name: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, member in shape.items():
        plain = key.removesuffix("?")
        path = f"{name}.{plain}" if name else plain
        if value.get(plain) is None:
            if key != plain:
                members[plain] = None
                continue
            if plain not in value:
                raise InputError(f"{place}: {path} is missing (there is {_keys(value)})")
        members[plain] = take(value.get(plain), member, place, path)
    return members


def _keys(value: dict[str, Any]) -> str:
    keys = [str(key)[:40] for key in value]
    return ", ".join(keys[:8]) + (", …" if len(keys) > 8 else "") if keys else "nothing"


def _require(condition: bool, value: Any, wanted: str, place: str, name: str) -> None:
    if not condition:
        subject = name or "a row"
        raise InputError(f"{place}: {subject} must be {wanted}, not {shown(value)}")
