"""Races: the best candidate is dropped no more often than stated."""

from __future__ import annotations

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.studies.scan.items import bounded
from growloop.studies.scan.racing import Race, fewest_items, rounds

RACES = 10_000


def simulate(means: list[float], spread: float, items: int, alpha: float, seed: int) -> Race:
    """Race candidates whose scores share an item's difficulty and are clipped to [0, 1]."""
    random = np.random.Generator(np.random.Philox(seed))
    race = Race(len(means), alpha, (RACES,))
    for _ in range(items):
        difficulty = random.normal(0, spread, (RACES, 1))
        noise = random.normal(0, spread, (RACES, len(means)))
        margins = np.array(means) + difficulty + noise
        race.add(bounded(margins, margins > 0, "margin", clip=1.0))
    return race


@pytest.mark.parametrize(
    ("means", "spread"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0.5),  # all equal: any of them may be called the best
        ([0.1, 0.0, 0.0, -0.1], 0.5),
        ([0.05, 0.0, -0.8, -0.8], 2.0),  # most scores are clipped
    ],
)
def test_ten_thousand_races_drop_the_best_no_more_often_than_alpha(
    means: list[float], spread: float
) -> None:
    alpha = 0.1
    race = simulate(means, spread, 40, alpha, seed=1)
    dropped = float((~race.alive[:, 0]).mean())
    error = (alpha * (1 - alpha) / RACES) ** 0.5
    assert dropped <= alpha + 3 * error
    assert race.alive.any(axis=1).all()


def test_right_or_wrong_scores_hold_the_rate_too() -> None:
    random = np.random.Generator(np.random.Philox(2))
    race = Race(4, 0.1, (RACES,))
    for _ in range(40):
        race.add((random.random((RACES, 4)) < [0.5, 0.5, 0.45, 0.2]).astype(float))
    assert (~race.alive[:, 0]).mean() <= 0.1 + 3 * (0.09 / RACES) ** 0.5
    assert (~race.alive[:, 3]).mean() > 0.3  # and a race does drop what is worse


def test_a_much_worse_candidate_is_dropped_and_frees_its_scores() -> None:
    race = Race(3)
    for _ in range(30):
        race.add(np.array([0.8, 0.7, 0.1]))
    assert race.alive.tolist() == [True, True, False]
    assert np.isnan(race.means[2])
    assert race.leader == 0
    before = race.evidence[2]
    race.add(np.array([0.8, 0.7, 1.0]))  # scores of dropped candidates count no more
    assert race.evidence[2] == pytest.approx(before)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_below_the_fewest_items_nothing_can_be_dropped(alpha: float) -> None:
    least = fewest_items(alpha)
    extreme = np.array([1.0] * 8 + [0.0])
    race = Race(9, alpha)
    for _ in range(least - 1):
        race.add(extreme)
    assert race.alive.all()
    for _ in range(2):  # the leaders of the first item are all candidates
        race.add(extreme)
    assert race.alive.tolist() == [True] * 8 + [False]


def test_many_candidates_cost_no_items() -> None:
    seen = []
    for arms in (20, 400):
        race, scores = Race(arms), np.full(arms, 0.7)
        scores[-1] = 0.2
        while race.alive.all():
            race.add(scores)
        seen.append(race.seen)
    assert abs(seen[0] - seen[1]) <= 1


def test_better_and_worse_than_the_first_hold_the_rate() -> None:
    random = np.random.Generator(np.random.Philox(4))
    race = Race(2, 1e-9, (RACES,))
    ever = np.zeros((RACES, 2), dtype=bool)
    for _ in range(40):
        race.add((random.random((RACES, 2)) < 0.5).astype(float))
        ever |= np.stack([race.above.log[:, 1], race.below.log[:, 1]], axis=1) >= np.log(10)
    assert (ever.mean(axis=0) <= 0.1 + 3 * (0.09 / RACES) ** 0.5).all()


def test_rounds_cover_all_items_once() -> None:
    for count in (8, 16, 17, 100, 200):
        seen = [i for start, stop in rounds(count) for i in range(start, stop)]
        assert seen == list(range(count))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_alpha_is_a_probability(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha is a probability"):
        Race(2, alpha)
