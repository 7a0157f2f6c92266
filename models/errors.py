"""The exceptions of this package: each message is one sentence a user can act on."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ModelError(ValueError):
    """What was given cannot be used; the message says why and what is allowed."""

    is_for_the_user = True  # the command line prints the message alone


class NotationError(ModelError):
    """A schedule that cannot be read; the message points at the character."""

    def __init__(self, text: str, place: int, reason: str) -> None:
        shown = text if len(text) <= 60 else f"…{text[max(0, place - 30) : place + 30]}…"
        super().__init__(f"schedule {shown!r}, character {place + 1}: {reason}")


def shown(given: object) -> str:
    """``given`` as it can stand in a message: one line, not too long."""
    text = repr(given)
    return text if len(text) <= 80 else text[:78] + "…"


def unknown(kind: str, given: object, allowed: Iterable[str]) -> ModelError:
    """A :class:`ModelError` for a name that is not one of ``allowed``."""
    names = list(allowed)
    near = get_close_matches(str(given)[:80], names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return ModelError(f"unknown {kind} {shown(given)}{hint} (allowed: {', '.join(names)})")


def one_of(kind: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse ``value`` unless it is one of ``allowed``."""
    if value not in (names := list(allowed)):
        raise unknown(kind, value, names)


def whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """``value``, refused unless it is a whole number from ``low`` to ``high``."""
    bounds = f"from {low} to {high}" if high is not None else f"of {low} or more"
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or value < low or (high is not None and value > high):  # type: ignore[operator]
        raise ModelError(f"{name} must be a whole number {bounds}, not {shown(value)}")
    return value  # type: ignore[return-value]
