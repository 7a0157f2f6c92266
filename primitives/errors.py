"""The one exception for bad input, and the checks that raise it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from math import log10


class InputError(ValueError):
    """What was given cannot be used; the message says why and what is allowed."""

    is_for_the_user = True  # the command line prints the message alone


def shown(given: object) -> str:
    """``given`` as it can stand in a message: one line, not too long, nothing unprintable."""
    text = repr(given)
    return text if len(text) <= 80 else text[:78] + "…"


def unknown(kind: str, given: object, allowed: Iterable[str]) -> InputError:
    """An :class:`InputError` for a name that is not one of ``allowed``.

    >>> print(unknown("style", "cod", ["basic", "math", "code"]))
    unknown style 'cod': did you mean 'code'? (allowed: basic, math, code)
    """
    names = list(allowed)
    near = get_close_matches(str(given)[:80], names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown {kind} {shown(given)}{hint} (allowed: {', '.join(names)})")


def one_of(kind: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse ``value`` unless it is one of ``allowed``."""
    if value not in (names := list(allowed)):
        raise unknown(kind, value, names)


def whole(name: str, value: object, low: int, high: int) -> int:
    """``value``, refused unless it is a whole number in ``low..high``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number from {low} to {high}, not {shown(value)}")
    if not low <= value <= high:
        digits = value if abs(value) < 10**30 else "a number of many digits"
        raise InputError(f"{name} must be from {low} to {high}, not {digits}")
    return value


def flag(name: str, value: object) -> None:
    """Refuse ``value`` unless it is true or false."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {shown(value)}")


def about(number: int) -> str:
    """A count that may have thousands of digits, for people.

    >>> about(12_345), about(10**500)
    ('12,345', '1.0e+500')
    """
    if number < 10**6:
        return f"{number:,}"
    exponent = int(log10(number))
    return f"{10 ** (log10(number) - exponent):.1f}e+{exponent}"
