"""Combinations of blocks: a beam search that a ridge regression guides.

The regression predicts a candidate's gain from how often each step of the model is repeated. It
only orders the combinations that are tried next; every combination that is kept was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models import Schedule
from .candidates import Candidate, combination
from .stage import Estimate

Floats = NDArray[np.float64]
PENALTY = 1.0  # of the ridge, in extra passes squared
TRIED = 3  # combinations measured for each one that is kept


def repeat_counts(some: Sequence[Candidate], depth: int) -> Floats:
    """Count the extra passes of each step, ``(candidates, depth)``."""
    counts = np.zeros((len(some), depth))
    for row, candidate in zip(counts, some, strict=True):
        for start, stop, times in candidate.blocks:
            row[start:stop] += times
    return counts


class Surrogate:
    """Ridge regression of gains on repeat counts, weighted by items.

    Args:
        estimates: measured candidates; only repeats count.
        depth: steps of the model's own schedule.
    """

    def __init__(self, estimates: Sequence[Estimate], depth: int) -> None:
        known = [e for e in estimates if e.candidate.edit in ("none", "repeat", "combination")]
        self.depth = depth
        counts = repeat_counts([e.candidate for e in known], depth)
        gains = np.array([e.score_gain for e in known])
        weights = np.sqrt(np.array([float(e.items) for e in known]))[:, None]
        weights /= weights.mean()
        rows = np.concatenate([counts * weights, np.sqrt(PENALTY) * np.eye(depth)])
        targets = np.concatenate([gains * weights[:, 0], np.zeros(depth)])
        self.effects: Floats = np.linalg.lstsq(rows, targets, rcond=None)[0]

    def predict(self, some: Sequence[Candidate]) -> Floats:
        """Predict gains, ``(candidates,)``."""
        found: Floats = repeat_counts(some, self.depth) @ self.effects
        return found


def expansions(
    base: Schedule,
    kept: Sequence[Candidate],
    singles: Sequence[Candidate],
    surrogate: Surrogate,
    most_extra: int,
    beam: int,
) -> list[Candidate]:
    """Combine kept candidates with further blocks, the most promising first.

    A block is added where it overlaps no other, or repeats a block of the combination once more.

    Args:
        kept: candidates of the level before.
        singles: repeated blocks that may be added.
        most_extra: most extra layer forwards of a combination.
        beam: combinations that will be kept; three times as many are returned.
    """
    found: dict[tuple[Any, ...], Candidate] = {}
    for candidate in kept:
        for single in singles:
            if (single.applied, single.kv) != (candidate.applied, candidate.kv):
                continue
            blocks = _added(candidate.blocks, single.blocks[0])
            key = (blocks, single.applied, single.kv)
            if blocks is None or key in found:
                continue
            if sum((stop - start) * times for start, stop, times in blocks) <= most_extra:
                found[key] = combination(base, blocks, candidate.applied, candidate.kv)
    if not found:
        return []
    new = list(found.values())
    order = np.argsort(-surrogate.predict(new), kind="stable")
    return [new[int(i)] for i in order[: TRIED * beam]]


def _added(
    blocks: tuple[tuple[int, int, int], ...], new: tuple[int, int, int]
) -> tuple[tuple[int, int, int], ...] | None:
    """Return sorted blocks with a new one; None where it overlaps another."""
    start, stop, times = new
    for number, (a, b, extra) in enumerate(blocks):
        if (a, b) == (start, stop):
            more = (a, b, extra + times)
            return tuple(sorted((*blocks[:number], more, *blocks[number + 1 :])))
        if start < b and a < stop:
            return None
    return tuple(sorted((*blocks, new)))
