"""Sampling unit of an entry's interval: items, training seeds, or measurements of one run.

These intervals answer different questions, so the unit is shown with every interval.
"""

from __future__ import annotations

from typing import Literal

from .entries import LeaderboardEntry

IntervalBasis = Literal["items", "seeds", "measurements"]


def interval_basis(entry: LeaderboardEntry) -> IntervalBasis | None:
    """Return the sampling unit of an entry's interval; None without an interval."""
    if entry.interval is None:
        return None
    if entry.seeds == 1:
        return "items"
    several = len({record.model.seed for record in entry.records}) > 1
    return "seeds" if several else "measurements"


def interval_basis_text(entry: LeaderboardEntry) -> str:
    """Return number and sampling unit: ``200 items``, ``3 seeds``; empty without an interval."""
    basis = interval_basis(entry)
    if basis is None:
        return ""
    if basis == "items":
        return "items" if entry.n is None else f"{entry.n:,} items"
    return f"{entry.seeds} {basis}"


def repeated_values(entry: LeaderboardEntry) -> tuple[float, ...]:
    """Return the value of each seed or measurement; empty if there is only one."""
    return entry.repetitions if entry.seeds > 1 else ()
