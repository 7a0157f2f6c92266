"""Racing: candidates that are not among the best stop being measured.

**Bets** (:class:`Race`) state their error. Against each candidate c a bet is placed on "c scores
lower than the leaders", the candidates that led before the item. Its capital is
``Π (1 + stake × D)``, with D the leaders' mean score minus c's on the same item, in [-1, 1], and a
stake that depends on earlier items alone. Items come in random order out of N, without replacement.
If c is at least as good as a leader on all N, the rest of the items must make up for what c is
behind: expected is ``E[D] <= -S / left``, with S the sum of D so far. So ``D + S / left`` is betted
on, and the capital is a non-negative supermartingale that starts at 1. By Ville's inequality it
ever reaches 1/alpha with probability at most alpha, whenever the race is looked at
(Waudby-Smith and Ramdas 2020, 2023: tests by betting, without replacement, with aGRAPA stakes).

To keep the ``top`` best, leaders are divided into as many groups, and the bet is on the smallest D
of a group. At most ``top - 1`` candidates are better than one of the best, so at least one group
has none of them, and its D bounds the smallest. Each of the best is dropped with probability at
most alpha, however many candidates there are.

**Halving** (:class:`Halving`) states its cost. After each round the better half goes on, as in
successive halving (Karnin, Koren and Somekh 2013). Nothing bounds its error.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError, whole

Floats = NDArray[np.float64]
BETS, HALVING, NONE = RACES = ("bets", "halving", "none")
LEADERS = 4  # candidates of a group that a bet is against
MOST = 0.97  # of the capital that is bet on an item
PRIOR = 0.05  # variance before the first item
FIRST = 8  # items of the first round of halving
KEPT = 2  # halving keeps one candidate of so many
SPARE = 2  # halving keeps so many times the wanted ones to the end


class Bets:
    """Capital of bets that numbers in [-1, 1] are above 0 on average.

    Attributes:
        log: log of the capital, of the given shape.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.log = np.zeros(shape)
        self._count = 0
        self._sums, self._squares = np.zeros(shape), np.full(shape, PRIOR)

    def add(self, values: Floats, offset: Floats | float = 0.0) -> None:
        """Bet on one number each, ``values + offset``; 0 leaves a capital as it is.

        Args:
            values: in [-1, 1].
            offset: what is added to each, known before the values are.
        """
        self._count += 1
        mean = self._sums / self._count + offset
        variance = self._squares / self._count
        lowest = np.maximum(1.0 - offset, 0.1)  # a factor stays positive: 1 + stake * value
        stake = np.clip(mean / (variance + mean**2), 0.0, MOST / lowest)
        self.log += np.log1p(stake * (values + offset))
        self._sums += values
        self._squares += (values - self._sums / (self._count + 1)) ** 2


class Standings:
    """Scores of candidates so far; drops none. Several independent ones by leading dimensions.

    Args:
        arms: number of candidates.
        count: number of items that there are in all.
        races: shape of the leading dimensions.

    Attributes:
        alive: candidates that are still measured, ``(*races, arms)``.
        seen: items so far.
        above, below: bets that a candidate scores higher, or lower, than the first one.
    """

    def __init__(self, arms: int, count: int, races: tuple[int, ...] = ()) -> None:
        self.arms, self.count, self.seen = arms, whole("items", count, 1), 0
        shape = (*races, arms)
        self.alive = np.ones(shape, dtype=bool)
        self.sums = np.zeros(shape)
        self.above, self.below = Bets(shape), Bets(shape)

    def rounds(self) -> list[tuple[int, int]]:
        """Divide the items into rounds, ``(start, stop)`` each."""
        return [(0, self.count)]

    def add(self, scores: Floats) -> None:
        """Take in the scores of one item.

        Args:
            scores: in [0, 1], ``(*races, arms)``; those of dropped candidates are ignored, but for
                the first one's.
        """
        change = np.where(self.alive, scores - scores[..., :1], 0.0)
        self.above.add(change)
        self.below.add(-change)
        self.sums += np.where(self.alive, scores, 0.0)
        self.seen += 1

    def end_round(self) -> None:
        """Drop candidates after a round."""

    @property
    def settled(self) -> bool:
        """Whether no candidate is left to be dropped."""
        return False

    @property
    def means(self) -> Floats:
        """Mean score of each candidate that is alive; NaN for dropped ones."""
        means: Floats = np.where(self.alive, self.sums / max(1, self.seen), np.nan)
        return means

    @property
    def leader(self) -> Any:
        """Index of the candidate with the highest mean; the first of equal ones."""
        return np.nanargmax(self.means, axis=-1)

    @property
    def places(self) -> NDArray[np.int64]:
        """Place of each candidate by its mean, 0 for the best; dropped ones come last."""
        order = np.argsort(np.where(self.alive, -self.sums, np.inf), axis=-1, kind="stable")
        places: NDArray[np.int64] = np.argsort(order, axis=-1, kind="stable")
        return places


class Race(Standings):
    """Race by bets, which drops a candidate as soon as it is certainly none of the best.

    Args:
        arms, count, races: see :class:`Standings`.
        alpha: largest probability that one of the best on all items is ever dropped; divided
            between them, so it also bounds that any of them is.
        top: number of the best that are kept.

    Raises:
        InputError: ``alpha`` is not a probability, or ``top`` no positive number.
    """

    def __init__(
        self,
        arms: int,
        count: int,
        alpha: float = 0.05,
        top: int = 1,
        races: tuple[int, ...] = (),
    ) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"alpha is a probability between 0 and 1, not {alpha}")
        super().__init__(arms, count, races)
        self.top = whole("top", top, 1)
        self.alpha = alpha / top
        self._against = Bets(self.alive.shape)

    def rounds(self) -> list[tuple[int, int]]:
        """Divide the items into rounds that grow by a third to a half."""
        return rounds(self.count)

    def add(self, scores: Floats) -> None:
        """Take in the scores of one item and drop candidates; see :meth:`Standings.add`."""
        values, offset = self._behind(scores)
        self._against.add(np.where(self.alive, values, 0.0), np.where(self.alive, offset, 0.0))
        super().add(scores)
        left = self.alive & (self.evidence < -np.log(self.alpha)) & self._in_reach()
        enough = left.sum(-1, keepdims=True) >= min(self.top, self.arms)
        self.alive = np.where(enough, left, self.alive)

    def _in_reach(self) -> NDArray[np.bool_]:
        """Return which candidates the rest of the items could still make one of the best."""
        if self.top > self.arms:
            return np.ones_like(self.alive)
        sums = np.where(self.alive, self.sums, -np.inf)
        least = np.partition(sums, self.arms - self.top, axis=-1)[..., -self.top, None]
        return sums + (self.count - self.seen) >= least

    def _behind(self, scores: Floats) -> tuple[Floats, Floats]:
        """Return how far each candidate is behind the leaders, and what it must make up for.

        Returns:
            Numbers in [-1, 1] from this item's scores, and offsets from earlier items, such that
            their sum is at most 0 in expectation for each of the best; ``(*races, arms)`` each.
        """
        left = self.count - self.seen
        places, gaps = self.places, []
        few = min(self.top * LEADERS, self.arms) if self.seen else self.arms
        ahead = self.alive & (places < few)
        for group in range(min(self.top, self.arms)):
            own = ahead & (places % self.top == group)
            weights = own / own.sum(-1, keepdims=True)  # no group is empty: `top` are alive
            now = (weights * np.where(self.alive, scores, 0.0)).sum(-1, keepdims=True) - scores
            before = (weights * self.sums).sum(-1, keepdims=True) - self.sums
            gaps.append((now, before / left))
        offset: Floats = np.min([gap for _, gap in gaps], axis=0)
        sums: Floats = np.min([now + gap for now, gap in gaps], axis=0)
        return sums - offset, offset

    @property
    def settled(self) -> bool:
        """Whether the wanted ones alone are left."""
        return bool((self.alive.sum(-1) <= self.top).all())

    @property
    def evidence(self) -> Floats:
        """Log of the capital against each candidate being one of the best, ``(*races, arms)``."""
        return self._against.log


class Halving(Standings):
    """Race of which the cost is known: after each round a fixed share of the candidates goes on.

    Args:
        arms, count, races: see :class:`Standings`.
        top: number of the best that are wanted; twice as many are measured to the end.
        first: items of the first round; rounds end at twice as many items each.
        kept: one candidate of so many goes on.
    """

    def __init__(
        self,
        arms: int,
        count: int,
        top: int = 1,
        races: tuple[int, ...] = (),
        first: int = FIRST,
        kept: int = KEPT,
    ) -> None:
        super().__init__(arms, count, races)
        self.top, self.first, self.kept = whole("top", top, 1), first, kept

    def rounds(self) -> list[tuple[int, int]]:
        """Divide the items into rounds: the last one begins when enough candidates are dropped."""
        ends, left = [self.first], self.arms
        while (left := self._after(left)) > SPARE * self.top:
            ends.append(2 * ends[-1])
        ends = [end for end in ends if end < self.count] + [self.count]
        return list(zip([0, *ends], ends, strict=False))

    def _after(self, left: int) -> int:
        return min(left, max(-(-left // self.kept), SPARE * self.top))

    def end_round(self) -> None:
        """Keep the better half, but no fewer than twice the wanted ones."""
        if self.seen < self.count:
            left = self._after(int(self.alive.reshape(-1, self.arms)[0].sum()))
            self.alive &= self.places < left


def contest(race: str, arms: int, count: int, alpha: float, top: int) -> Standings:
    """Make a race by its name, one of ``bets``, ``halving`` and ``none``."""
    if race == BETS:
        return Race(arms, count, alpha, top)
    return Halving(arms, count, top) if race == HALVING else Standings(arms, count)


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
    """Return the number of items of a race below which no candidate can be dropped.

    A candidate that scores 0 where the leaders score 1 is dropped no sooner.
    """
    for items in itertools.count(1):
        bets = Bets(())
        for seen in range(items):
            bets.add(np.ones(()), seen / (items - seen))
        if bets.log >= -np.log(alpha):
            return items
    raise AssertionError
