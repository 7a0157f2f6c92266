"""Every way in which one field of a JSON file is damaged: gone, of another type, out of bounds."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

OTHERS: tuple[Any, ...] = (None, True, -1, 10**18, 1e300, "", "..", "x" * 10**5, [], {}, [{}])


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside a value."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for name, part in inside:
        yield (*before, name)
        yield from places(part, (*before, name))


def mutations(fields: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Damaged texts, and the place that was damaged."""
    for place in places(fields):
        *outer, last = place
        for other in (*OTHERS, "gone"):
            damaged = copy.deepcopy(fields)
            inner: Any = damaged
            for name in outer:
                inner = inner[name]
            if other == "gone":
                del inner[last]
            elif json.dumps(inner[last]) == json.dumps(other):
                continue
            else:
                inner[last] = other
            yield place, json.dumps(damaged)


def cuts(text: str) -> Iterator[str]:
    """Beginnings of a text, and what is no JSON at all."""
    yield from (text[:length] for length in range(0, len(text), max(1, len(text) // 20)))
    yield from ("[" * 50_000, '{"a": ' * 50_000, "null", "[]", "1e999999", "9" * 10**5, "\ufeff")
