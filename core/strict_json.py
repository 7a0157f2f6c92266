"""JSON in which no name comes twice in an object: Python would take the last value silently."""

from __future__ import annotations

import json
from typing import Any


class RepeatedNameError(ValueError):
    """A name that comes twice in an object."""


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
