"""Races: the best candidate is dropped no more often than stated."""

from __future__ import annotations

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.studies.scan.items import bounded
from growloop.studies.scan.racing import Halving, Race, Standings, fewest_items, rounds
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RACES = 10_000


def drawn(means: list[float], spread: float, items: int, seed: int) -> Floats:
    """Draw scores of candidates that share an item's difficulty: ``(items, races, arms)``."""
    random = np.random.Generator(np.random.Philox(seed))
    difficulty = random.normal(0, spread, (items, RACES, 1))
    margins = np.array(means) + difficulty + random.normal(0, spread, (items, RACES, len(means)))
    return bounded(margins, margins > 0, "margin", clip=1.0)


def best_dropped(scores: Floats, alpha: float, top: int) -> tuple[Floats, Floats]:
    """Race, and return the share of races that dropped one of the best, and of arms dropped.

    The best are those on all items, as a run without a race finds them.
    """
    items, races, arms = scores.shape
    race = Race(arms, items, alpha, top, (races,))
    for item in scores:
        race.add(item)
    assert (race.alive.sum(-1) >= top).all()
    best = np.argsort(-scores.sum(0), axis=-1)[:, :top]
    lost = ~np.take_along_axis(race.alive, best, axis=-1)
    return lost.any(-1).mean(), (~race.alive).mean()


def most(alpha: float) -> float:
    """Return the largest share of races that ``alpha`` explains."""
    return alpha + 3 * float((alpha * (1 - alpha) / RACES) ** 0.5)


CLOSE = [0.0] * 6
SPREAD_OUT = [0.2, 0.1, 0.1, 0.0, -0.2, -0.5, -0.8, -0.8]


@pytest.mark.parametrize("top", [1, 3])
@pytest.mark.parametrize(
    ("means", "spread"),
    [
        (CLOSE, 0.5),  # all equal: chance alone says which are the best
        (SPREAD_OUT, 0.5),
        (SPREAD_OUT, 2.0),  # most scores are clipped
    ],
)
def test_ten_thousand_races_drop_one_of_the_best_no_more_often_than_alpha(
    means: list[float], spread: float, top: int
) -> None:
    alpha = 0.1
    lost, dropped = best_dropped(drawn(means, spread, 40, seed=1), alpha, top)
    assert lost <= most(alpha)
    assert dropped > (0.2 if means is SPREAD_OUT and spread < 1 else 0.0)


def test_the_best_by_a_late_comeback_is_kept() -> None:
    """Twenty items say nothing of a candidate that makes up for them on the other twenty."""
    scores = drawn([0.0, 0.0, 0.0, 0.0], 0.3, 40, seed=5)
    scores[..., 0] = np.clip(scores[..., 1:].max(-1) + 0.01, 0, 1)
    scores[:, :, 0][::2] -= 0.3
    order = np.argsort(np.random.default_rng(6).random((40, RACES)), axis=0)
    shuffled = np.take_along_axis(scores, order[..., None], axis=0)
    lost, _ = best_dropped(np.clip(shuffled, 0, 1), 0.1, 1)
    assert lost <= most(0.1)


def test_right_or_wrong_scores_hold_the_rate_too() -> None:
    random = np.random.Generator(np.random.Philox(2))
    scores = (random.random((40, RACES, 4)) < [0.5, 0.5, 0.45, 0.2]).astype(float)
    scores[..., :3] += random.random((40, RACES, 3)) * 1e-9  # no ties
    lost, dropped = best_dropped(np.minimum(scores, 1.0), 0.1, 1)
    assert lost <= most(0.1)
    assert dropped > 0.1  # and a race does drop what is worse


def test_a_much_worse_candidate_is_dropped_and_frees_its_scores() -> None:
    race = Race(3, 100)
    for _ in range(30):
        race.add(np.array([0.8, 0.7, 0.1]))
    assert race.alive.tolist() == [True, True, False]
    assert np.isnan(race.means[2])
    assert race.leader == 0
    before = race.evidence[2]
    race.add(np.array([0.8, 0.7, 1.0]))  # scores of dropped candidates count no more
    assert race.evidence[2] == pytest.approx(before)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_below_the_fewest_items_no_bet_says_anything(alpha: float) -> None:
    least, extreme = fewest_items(alpha), np.array([1.0] * 8 + [0.0])
    race = Race(9, least - 1, alpha)
    for _ in range(least - 1):
        race.add(extreme)
    assert (race.evidence < -np.log(alpha)).all()
    race = Race(9, 10 * least, alpha)
    for _ in range(2 * least):
        race.add(extreme)
    assert race.alive.tolist() == [True] * 8 + [False]


def test_what_can_no_longer_be_made_up_for_is_dropped_at_once() -> None:
    """Behind by more than the rest of the items are worth: no bet could be lost."""
    race = Race(2, 12, 1e-6)
    for _ in range(10):
        race.add(np.array([1.0, 0.0]))
    assert race.alive.tolist() == [True, False]


def test_many_candidates_cost_no_items() -> None:
    seen = []
    for arms in (20, 400):
        race, scores = Race(arms, 200), np.full(arms, 0.7)
        scores[-1] = 0.2
        while race.alive.all():
            race.add(scores)
        seen.append(race.seen)
    assert abs(seen[0] - seen[1]) <= 1


def test_better_and_worse_than_the_first_hold_the_rate() -> None:
    random = np.random.Generator(np.random.Philox(4))
    standings = Standings(2, 40, (RACES,))
    ever = np.zeros((RACES, 2), dtype=bool)
    for _ in range(40):
        standings.add((random.random((RACES, 2)) < 0.5).astype(float))
        logs = [standings.above.log[:, 1], standings.below.log[:, 1]]
        ever |= np.stack(logs, axis=1) >= np.log(10)
    assert (ever.mean(axis=0) <= most(0.1)).all()


@pytest.mark.parametrize(
    ("arms", "count", "top", "kept"),
    [(213, 200, 3, 7), (213, 400, 3, 6), (23, 96, 1, 2), (3, 24, 3, 3)],
)
def test_halving_keeps_the_best_of_each_round(arms: int, count: int, top: int, kept: int) -> None:
    """Twice ``top`` are kept at the end, or more where the items end first."""
    race, scores = Halving(arms, count, top), np.linspace(0, 1, arms)
    for start, stop in race.rounds():
        for _ in range(start, stop):
            race.add(scores)
        race.end_round()
    assert race.seen == count
    assert np.flatnonzero(race.alive).tolist() == list(range(arms))[-kept:]
    assert race.leader == arms - 1


def test_rounds_cover_all_items_once() -> None:
    for count in (8, 16, 17, 100, 200):
        seen = [i for start, stop in rounds(count) for i in range(start, stop)]
        assert seen == list(range(count))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_alpha_is_a_probability(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha is a probability"):
        Race(2, 40, alpha)
