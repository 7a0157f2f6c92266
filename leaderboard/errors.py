"""The exception of this package: each message says what is wrong, where, and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RecordError(ValueError):
    """A record, a file or a request that cannot be used."""

    is_for_the_user = True  # the command line prints the message alone


def shown(given: object) -> str:
    """``given`` as it can stand in a message: one line, not too long, nothing unprintable."""
    text = ascii(given)
    return text if len(text) <= 80 else text[:77] + "..."


def unknown(kind: str, given: object, allowed: Iterable[str]) -> RecordError:
    """A :class:`RecordError` for a name that is not one of ``allowed``."""
    names = list(allowed)
    near = get_close_matches(str(given)[:80], names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return RecordError(f"unknown {kind} {shown(given)}{hint} (there are: {listed or 'none'})")
