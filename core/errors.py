"""Exception for bad input, and the checks that raise it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from math import log10


class InputError(ValueError):
    """Input that cannot be used; the message says what is wrong and what is allowed."""

    is_for_the_user = True  # the command line prints the message alone


class NotationError(InputError):
    """Schedule that cannot be parsed; the message points at the character."""

    def __init__(self, text: str, place: int, reason: str) -> None:
        part = text if len(text) <= 60 else f"…{text[max(0, place - 30) : place + 30]}…"
        super().__init__(f"schedule {part!r}, character {place + 1}: {reason}")


def shown(value: object) -> str:
    """Format a value for a message: one line of at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:78] + "…"


LISTED = 24  # names in a message; of more only the nearest


def unknown(kind: str, name: object, allowed: Iterable[str]) -> InputError:
    """Build the error for a name that is not one of ``allowed``, with the nearest match.

    Args:
        kind: noun for the message.

    >>> print(unknown("style", "cod", ["basic", "math", "code"]))
    unknown style 'cod': did you mean 'code'? (allowed: basic, math, code)
    """
    names = list(allowed)
    near = get_close_matches(str(name)[:80], names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else ""
    some = names
    if len(names) > LISTED:
        close = get_close_matches(str(name)[:80], names, n=LISTED // 2, cutoff=0.0)
        some = [*close, f"and {len(names) - len(close)} more"]
    return InputError(f"unknown {kind} {shown(name)}{hint} (allowed: {', '.join(some) or 'none'})")


def one_of(kind: str, value: object, allowed: Iterable[str]) -> None:
    """Raise :func:`unknown` unless ``value`` is one of ``allowed``.

    Args:
        kind: noun for the message, such as ``style``.
    """
    if value not in (names := list(allowed)):
        raise unknown(kind, value, names)


def whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return ``value`` if it is an integer from ``low`` to ``high``.

    Args:
        name: name of the value, for the message.

    Raises:
        InputError: another type (a boolean too), or out of range.

    >>> whole("depth", 3, 0)
    3
    >>> whole("depth", -1, 0)
    Traceback (most recent call last):
    ...
    growloop.core.errors.InputError: depth must be a whole number of 0 or more, not -1
    """
    bounds = f"from {low} to {high}" if high is not None else f"of {low} or more"
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number {bounds}, not {shown(value)}")
    if value < low or (high is not None and value > high):
        digits = value if abs(value) < 10**30 else "a number of many digits"
        raise InputError(f"{name} must be a whole number {bounds}, not {digits}")
    return value


def flag(name: str, value: object) -> None:
    """Raise an :class:`InputError` unless ``value`` is a boolean."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {shown(value)}")


def about(number: int) -> str:
    """Format a count that may have thousands of digits.

    >>> about(12_345), about(10**500)
    ('12,345', '1.0e+500')
    """
    if number < 10**6:
        return f"{number:,}"
    exponent = int(log10(number))
    return f"{10 ** (log10(number) - exponent):.1f}e+{exponent}"
