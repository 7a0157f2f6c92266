"""Distractors for tasks whose answer is a number.

The rank of the right answer among the options is uniform, so the options alone carry no
information.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bits import Array, distinct, falling

OPTIONS = 5
DISTANCES = np.array([1, 2, 10, 20])
_ORDER = falling(len(DISTANCES), len(DISTANCES))
RANGES = [OPTIONS, *_ORDER, *_ORDER, OPTIONS]
"""Ranges of the draws of :func:`near_misses`."""
REACH = 3 * int(DISTANCES.max())
"""Largest distance of an option from the answer."""


def near_misses(
    answer: NDArray[np.int64], draws: Array, low: int
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Make five different options per item: the answer and four numbers near it.

    Args:
        answer: right answers, ``(count,)``.
        draws: random numbers below :data:`RANGES`, ``(len(RANGES), count)``.
        low: smallest option allowed.

    Returns:
        Options ``(5, count)``, and the index of the right one ``(count,)``.

    >>> draws = np.zeros((len(RANGES), 1), np.uint32)
    >>> options, index = near_misses(np.array([1304]), draws, low=0)
    >>> options.ravel().tolist(), index.tolist()
    ([1304, 1305, 1306, 1314, 1324], [0])
    """
    size = len(DISTANCES)
    below = draws[0]  # how many options are smaller than the answer
    down = DISTANCES[distinct(draws[1 : 1 + size], size)]
    up = DISTANCES[distinct(draws[1 + size : 1 + 2 * size], size)]
    # the first `below` steps down, then the first steps up: four in all
    step = np.arange(size)[:, None]
    upward = np.take_along_axis(up, np.maximum(step - below.astype(np.intp), 0), axis=0)
    wrong = np.where(step < below, answer - down, answer + upward)
    # three times as far up instead of too far down: meets no other option
    wrong = np.where(wrong < low, answer + 3 * down, wrong)
    place = draws[-1].astype(np.intp)
    options = np.concatenate([answer[None], wrong])
    column = np.arange(len(answer))
    options[0] = options[place, column]
    options[place, column] = answer
    return options, place
