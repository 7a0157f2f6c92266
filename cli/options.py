"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import InputError


def parse_params(pairs: Iterable[str]) -> dict[str, str]:
    """``("depth=2", "style=code")`` as a dictionary.

    Raises:
        InputError: a pair has no ``=``, or a name comes twice with different values.
    """
    params: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--param takes name=value, not '{pair}'")
        name = name.strip().replace("-", "_")
        if params.setdefault(name, value) != value:
            raise InputError(f"parameter {name} is given twice: {params[name]} and {value}")
    return params


def whole_numbers(text: str, option: str) -> list[int]:
    """``0,1,2,4`` as numbers.

    Raises:
        InputError: something else, or a number twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 9 for part in parts):
        raise InputError(f"{option} takes whole numbers with commas, such as 0,1,2,4, not '{text}'")
    found = [int(part) for part in parts]
    if len(set(found)) < len(found):
        raise InputError(f"{option} names a number twice: {text}")
    return sorted(found)
