"""PROP schedule: the number of training steps of each growth stage (paper, appendix F)."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import accumulate

from ...core.errors import InputError, whole


def prop_schedule(total_steps: int, stages: int, alpha: float = 1.0) -> tuple[int, ...]:
    """Split training steps over growth stages in proportion to ``i^alpha`` (PROP-alpha, app. F).

    Stage ends are rounded, so the stages sum exactly to ``total_steps``.

    >>> prop_schedule(170_000, 6)  # ends at 8095, 24286, 48571, 80952, 121429, 170000
    (8095, 16191, 24285, 32381, 40477, 48571)
    """
    whole("total_steps", total_steps, 1)
    whole("the number of stages", stages, 1)
    if not -50 <= alpha <= 50:
        raise InputError(f"alpha is from -50 to 50, not {alpha}")
    exact = float(alpha).is_integer()
    weights = [
        Fraction(i) ** int(alpha) if exact else Fraction(i**alpha) for i in range(1, stages + 1)
    ]
    ends = [
        math.floor(total_steps * part / sum(weights) + Fraction(1, 2))
        for part in accumulate(weights)
    ]
    steps = tuple(b - a for a, b in zip([0, *ends[:-1]], ends, strict=True))
    if min(steps) < 1:
        raise InputError(f"{total_steps} steps are too few for {stages} stages at alpha {alpha}")
    return steps
