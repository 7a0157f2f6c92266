"""The one exception for bad input, and the sentence that names the nearest match."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """What was given cannot be used; the message says why and what is allowed."""


def unknown(kind: str, given: object, allowed: Iterable[str]) -> InputError:
    """An :class:`InputError` for a name that is not one of ``allowed``.

    >>> print(unknown("style", "cod", ["basic", "math", "code"]))
    unknown style 'cod': did you mean 'code'? (allowed: basic, math, code)
    """
    names = list(allowed)
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown {kind} '{given}':{hint} (allowed: {', '.join(names)})")


def whole(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int, refused unless it is a whole number in ``low..high``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
    if not low <= value <= high:
        raise InputError(f"{name} must be from {low} to {high}, not {value}")
    return value
