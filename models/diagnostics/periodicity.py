"""Periodicity along the depth of a model: do contributions repeat from block to block?

The paper shows curves (Figures 6, 11). Here it is one number, so that models can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.statistics import Array
from ..looping.config import LoopedConfig, current_schedule
from ..looping.native import loops_by_itself

MIN_RATIO = 1e-4  # contribution / residual stream; smaller ones count as this
MIN_PAIRS = 3  # for a correlation; two points always lie on a line


def expected_period(config: Any) -> int | None:
    """Return the period a model's construction suggests, in steps; None for a plain model.

    It is the size of the longest-running looped block, else the number of layers that the last
    growth step added.
    """
    if isinstance(config, LoopedConfig) or loops_by_itself(config):
        sections = current_schedule(config).sections
        looped = [section for section in sections if section.times > 1]
        if looped:
            return max(looped, key=lambda section: section.size * section.times).size
    history = getattr(config, "growth_history", None) or ()
    return int(history[-1]["to"]) - int(history[-1]["from"]) if history else None


def periodicity(ratios: Array, block: int) -> Array:
    """Compute the autocorrelation of changes of log contributions at a lag of ``block`` steps.

    With ``d[i] = log(r[i + 1] / r[i])`` it is Pearson's correlation of ``d[i]`` and
    ``d[i + block]`` over all ``i``. Changes are used because the slow decline of contributions
    with depth would correlate at any lag; logarithms because the first layers dwarf the rest.

    Args:
        ratios: contributions, ``(..., steps)``, such as ``|a| / |h|``.
        block: lag in steps.

    Returns:
        ``(...)``: 1 if every block repeats the previous one, about 0 if none does; NaN where all
        changes are equal, or with fewer than three pairs.

    >>> round(float(periodicity(np.array([8, 4, 2, 6, 3, 1.5, 4.5, 2.25]), 3)), 6)
    1.0
    """
    changes = np.diff(np.log(np.maximum(ratios, MIN_RATIO)), axis=-1)
    pairs = changes.shape[-1] - block
    if pairs < MIN_PAIRS:
        return np.full(ratios.shape[:-1], np.nan)
    early, late = (part - part.mean(-1, keepdims=True)
                   for part in (changes[..., :pairs], changes[..., block:]))  # fmt: skip
    norm = np.sqrt((early**2).sum(-1) * (late**2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: Array = np.where(norm > 1e-12, (early * late).sum(-1) / norm, np.nan)
    return correlation


def block_sizes(steps: int) -> range:
    """Return the block sizes whose periodicity can be measured over ``steps`` steps.

    >>> list(block_sizes(6)), list(block_sizes(12)), list(block_sizes(4))
    ([2], [2, 3, 4, 5, 6], [])
    """
    return range(2, min(steps // 2, steps - 1 - MIN_PAIRS) + 1)
