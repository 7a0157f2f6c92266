"""Wrong answers for tasks whose answer is a number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bits import Array, distinct, falling

OPTIONS = 5
OFFSETS = np.array([-10, -2, -1, 1, 2, 10])
RANGES = [*falling(len(OFFSETS), OPTIONS - 1), OPTIONS]
"""Ranges of the draws :func:`near_misses` takes."""
REACH = 3 * int(OFFSETS.max())
"""No option is farther than this from the answer."""


def near_misses(
    answer: NDArray[np.int64], draws: Array, low: int
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Five different numbers from ``low`` up, one of them right.

    Args:
        answer: ``(count,)``.
        draws: ``(5, count)``, below :data:`RANGES`.

    Returns:
        The options ``(5, count)`` and the place ``(count,)`` of the right one.
    """
    count = len(answer)
    offsets = OFFSETS[distinct(draws[:-1], len(OFFSETS))]
    # three times as far up instead of too far down: meets no other offset
    wrong = np.where(answer + offsets < low, answer - 3 * offsets, answer + offsets)
    place = draws[-1].astype(np.intp)
    options = np.concatenate([answer[None], wrong])
    options[0, :] = options[place, np.arange(count)]
    options[place, np.arange(count)] = answer
    return options, place
