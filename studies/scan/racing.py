"""Racing: candidates that are certainly not the best stop being measured.

Against each candidate c a bet is kept on "c scores lower than the leaders", the mean of the four
candidates that led before the item. Its capital is ``Π (1 + stake (leaders - c))``, with scores in
[0, 1] from the same item and a stake that depends on earlier items alone. If c is the best, no
choice of leaders scores higher in expectation, so the expected factor is at most 1 whatever came
before: the capital is a non-negative supermartingale that starts at 1. By Ville's inequality it
ever reaches 1/alpha with probability at most alpha.

c is dropped when its capital reaches 1/alpha. The best candidate is therefore dropped with
probability at most alpha, however many candidates there are, whenever the race is looked at and
however long it lasts (Waudby-Smith and Ramdas 2023: tests by betting, with their aGRAPA stakes).
Items are taken as independent draws.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError

Floats = NDArray[np.float64]
LEADERS = 4  # candidates that a bet is against
MOST = 0.97  # of the capital that is bet on an item
PRIOR = 0.25  # variance before the first item


class Bets:
    """Capital of bets that numbers in [-1, 1] are above 0 on average.

    Attributes:
        log: log of the capital, of the given shape.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.log = np.zeros(shape)
        self._count = 0
        self._sums, self._squares = np.zeros(shape), np.full(shape, PRIOR)

    def add(self, values: Floats) -> None:
        """Bet on one number each; 0 leaves a capital as it is."""
        self._count += 1
        mean, variance = self._sums / self._count, self._squares / self._count
        stake = np.clip(mean / (variance + mean**2), 0.0, MOST)
        self.log += np.log1p(stake * values)
        self._sums += values
        self._squares += (values - self._sums / (self._count + 1)) ** 2


class Race:
    """State of a race, of several independent ones where the arrays have leading dimensions.

    Args:
        arms: number of candidates.
        alpha: largest probability that the best candidate is ever dropped.
        races: shape of the leading dimensions.

    Attributes:
        alive: candidates that are still in the race, ``(*races, arms)``.
        seen: items so far.
        above, below: bets that a candidate scores higher, or lower, than the first one.
    """

    def __init__(self, arms: int, alpha: float = 0.05, races: tuple[int, ...] = ()) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"alpha is a probability between 0 and 1, not {alpha}")
        self.arms, self.alpha, self.seen = arms, alpha, 0
        shape = (*races, arms)
        self.alive = np.ones(shape, dtype=bool)
        self.sums = np.zeros(shape)
        self._against, self.above, self.below = Bets(shape), Bets(shape), Bets(shape)

    def add(self, scores: Floats) -> None:
        """Take in the scores of one item and drop candidates.

        Args:
            scores: in [0, 1], ``(*races, arms)``; those of dropped candidates are ignored, but for
                the first one's.
        """
        weights = self._leading()
        leaders = (weights * np.where(self.alive, scores, 0.0)).sum(-1, keepdims=True)
        self._against.add(np.where(self.alive, leaders - scores, 0.0))
        change = np.where(self.alive, scores - scores[..., :1], 0.0)
        self.above.add(change)
        self.below.add(-change)
        self.sums += np.where(self.alive, scores, 0.0)
        self.seen += 1
        left = self.alive & (self.evidence < -np.log(self.alpha))
        self.alive = np.where(left.any(-1, keepdims=True), left, self.alive)

    def _leading(self) -> Floats:
        """Return the weights of the leaders so far; before the first item all candidates lead."""
        best = np.where(self.alive, self.sums, -np.inf)
        place = max(0, self.arms - LEADERS)
        least = np.partition(best, place, axis=-1)[..., place : place + 1]
        weights = (self.alive & (best >= least)).astype(np.float64)
        found: Floats = weights / weights.sum(-1, keepdims=True)
        return found

    @property
    def evidence(self) -> Floats:
        """Log of the capital against each candidate being the best, ``(*races, arms)``."""
        return self._against.log

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


def fewest_items(alpha: float) -> int:
    """Return the number of items below which no candidate can be dropped.

    A candidate that scores 0 where the leaders score 1 is dropped no sooner.
    """
    bets = Bets(())
    for items in itertools.count(1):
        bets.add(np.ones(()))
        if bets.log >= -np.log(alpha):
            return items
    raise AssertionError
