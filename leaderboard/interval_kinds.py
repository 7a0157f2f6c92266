"""What the interval of an entry is over: items, seeds, or measurements of one run.

They answer different questions, so they are told apart wherever one is shown.
"""

from __future__ import annotations

from typing import Literal

from .entries import Entry

Over = Literal["items", "seeds", "measurements"]


def over(entry: Entry) -> Over | None:
    """What the interval is over; None where there is none."""
    if entry.interval is None:
        return None
    if entry.seeds == 1:
        return "items"
    several = len({record.model.seed for record in entry.records}) > 1
    return "seeds" if several else "measurements"


def over_words(entry: Entry) -> str:
    """The same with its number: ``200 items``, ``3 seeds``; empty where there is no interval."""
    kind = over(entry)
    if kind is None:
        return ""
    if kind == "items":
        return "items" if entry.n is None else f"{entry.n:,} items"
    return f"{entry.seeds} {kind}"


def dots(entry: Entry) -> tuple[float, ...]:
    """The value of each seed or measurement, where there are several."""
    return entry.repetitions if entry.seeds > 1 else ()
