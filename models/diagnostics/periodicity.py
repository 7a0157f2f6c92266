"""Whether something recurs along the depth of a model, one block after the other.

The paper shows it as curves (Figures 6, 11); here it is one number, so that models can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.statistics import Array
from ..looping.config import LoopedConfig, current_schedule

FLOOR = 1e-4  # of the stream: a step that adds less adds nothing
FEWEST = 3  # pairs of steps: through two points there is always a line


def block_of(config: Any) -> int | None:
    """Steps after which a model is built to come back to where it was; None for a plain one.

    That is the size of the block it loops, else the number of layers its last growth step added.
    """
    if isinstance(config, LoopedConfig):
        sections = current_schedule(config).sections
        looped = [section for section in sections if section.times > 1]
        if looped:
            return max(looped, key=lambda section: section.size * section.times).size
    history = getattr(config, "growth_history", None) or ()
    return int(history[-1]["to"]) - int(history[-1]["from"]) if history else None


def periodicity(ratios: Array, block: int) -> Array:
    """Autocorrelation of the changes of log contributions, ``block`` steps apart.

    From step to step a ratio changes by ``d[i] = log(r[i + 1] / r[i])``; this is Pearson's
    correlation of ``d[i]`` and ``d[i + block]`` over all ``i``. Changes, because the slow fall of
    contributions with depth would look alike at any distance; logarithms, because the first layers
    dwarf the rest. 1: every block repeats the one before it; about 0: none does.

    Args:
        ratios: contributions, ``(..., steps)``, such as ``|a| / |h|``.
        block: steps in a block.

    Returns:
        ``(...)``; NaN where all changes are the same, or fewer than three pairs are so far apart.

    >>> round(float(periodicity(np.array([8, 4, 2, 6, 3, 1.5, 4.5, 2.25]), 3)), 6)
    1.0
    """
    changes = np.diff(np.log(np.maximum(ratios, FLOOR)), axis=-1)
    pairs = changes.shape[-1] - block
    if pairs < FEWEST:
        return np.full(ratios.shape[:-1], np.nan)
    sides = [part - part.mean(-1, keepdims=True) for part in (changes[..., :pairs],
                                                              changes[..., block:])]  # fmt: skip
    norm = np.sqrt((sides[0] ** 2).sum(-1) * (sides[1] ** 2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(norm > 1e-12, (sides[0] * sides[1]).sum(-1) / norm, np.nan)
    return found


def blocks(steps: int) -> range:
    """The sizes of block that so many steps can show.

    >>> list(blocks(6)), list(blocks(12)), list(blocks(4))
    ([2], [2, 3, 4, 5, 6], [])
    """
    return range(2, min(steps // 2, steps - 1 - FEWEST) + 1)
