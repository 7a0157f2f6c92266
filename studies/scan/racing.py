"""Racing: candidates that are certainly not the best stop being measured.

For every ordered pair of candidates (c, l) a bet is kept on "c scores lower than l": its capital
after n items is the mean over a grid of stakes s of ``Π (1 - s (score_c - score_l))``, with scores
in [0, 1] and both scores from the same item. If c is the best, the expected factor is at most 1
whatever came before, so each capital, and the mean over all l, is a non-negative supermartingale
that starts at 1. By Ville's inequality it ever reaches 1/alpha with probability at most alpha.

c is dropped when that mean reaches 1/alpha. The best candidate is therefore dropped with
probability at most alpha, whenever the race is looked at and however long it lasts (Waudby-Smith
and Ramdas 2023: hypothesis tests by betting). Items are taken as independent draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError

Floats = NDArray[np.float64]
STAKES = 0.97 * 2.0 ** -np.arange(0.0, 6.0)  # fractions of the capital that are bet


class Race:
    """State of a race, of several independent ones where the arrays have leading dimensions.

    Args:
        arms: number of candidates.
        alpha: largest probability that the best candidate is ever dropped.
        races: shape of the leading dimensions.

    Attributes:
        alive: candidates that are still in the race, ``(*races, arms)``.
        seen: items so far.
    """

    def __init__(self, arms: int, alpha: float = 0.05, races: tuple[int, ...] = ()) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"alpha is a probability between 0 and 1, not {alpha}")
        self.arms, self.alpha, self.seen = arms, alpha, 0
        self.alive = np.ones((*races, arms), dtype=bool)
        self.sums = np.zeros((*races, arms))
        self._log_capital = np.zeros((*races, arms, arms, len(STAKES)))

    def add(self, scores: Floats) -> None:
        """Take in the scores of one item and drop candidates.

        Args:
            scores: in [0, 1], ``(*races, arms)``; those of dropped candidates are ignored.
        """
        if self.arms == 1:
            self.seen += 1
            self.sums += scores
            return
        self.seen += 1
        self.sums += np.where(self.alive, scores, 0.0)
        pairs = self.alive[..., :, None] & self.alive[..., None, :]
        difference = np.where(pairs, scores[..., :, None] - scores[..., None, :], 0.0)
        self._log_capital += np.log1p(-STAKES * difference[..., None])
        self.alive &= self.evidence < 1 / self.alpha

    @property
    def evidence(self) -> Floats:
        """Evidence against each candidate being the best, ``(*races, arms)``.

        Under "it is the best" its expectation is at most 1.
        """
        # a pair of a candidate with itself has capital 1: it is taken out of the mean
        log = np.minimum(self._log_capital, 500.0)
        total = np.exp(log).mean(-1).sum(-1) - 1.0
        found: Floats = total / (self.arms - 1)
        return found

    @property
    def log_capital_means(self) -> Floats:
        """Log of the mean capital of each pair (c, l), over stakes: ``(*races, arms, arms)``."""
        highest = self._log_capital.max(axis=-1, keepdims=True)
        found: Floats = np.log(np.exp(self._log_capital - highest).mean(-1)) + highest[..., 0]
        return found

    @property
    def means(self) -> Floats:
        """Mean score of each candidate that is alive; NaN for dropped ones."""
        means: Floats = np.where(self.alive, self.sums / max(1, self.seen), np.nan)
        return means

    @property
    def leader(self) -> Any:
        """Index of the candidate with the highest mean; the first of equal ones."""
        return np.nanargmax(self.means, axis=-1)


def rounds(items: int, first: int = 16) -> list[tuple[int, int]]:
    """Divide items into rounds; each sees a third to a half more items than before.

    >>> rounds(100)
    [(0, 16), (16, 24), (24, 32), (32, 48), (48, 64), (64, 96), (96, 100)]
    """
    ends, size = [], first
    while size < items:
        ends += [size, size + size // 2]
        size *= 2
    ends = [end for end in ends if end < items] + [items]
    return list(zip([0, *ends], ends, strict=False))


def fewest_items(arms: int, alpha: float) -> int:
    """Return the number of items below which nothing can be dropped.

    A candidate whose every score is 1 lower than that of one other reaches the limit no sooner.
    """
    items = 1
    while np.mean((1 + STAKES) ** items) / max(1, arms - 1) < 1 / alpha:
        items += 1
    return items
