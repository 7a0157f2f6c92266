"""Planted hops: their places and the letters between them."""

from __future__ import annotations

import itertools

import pytest
from growloop.primitives import (
    SPLITS,
    Source,
    make_task,
)

from .cases import source


@pytest.mark.parametrize("hops", [16, 32])
def test_planted_hops_are_all_there_and_spread_over_the_sequence(hops: int) -> None:
    """Followed by the definition of arXiv 2502.17416, written out."""
    reached = {"planted": [], "uniform": []}  # type: ignore[var-annotated]
    for sampling, ends in reached.items():
        for item in source("p_hop", {"hops": hops, "sampling": sampling}).items(0, 100):
            v = ["", *item.prompt.split("\n")[1].split(" ")[:-1]]  # counted from 1
            place = len(v) - 1
            for _ in range(hops):
                place = max([0, *(j for j in range(2, place + 1) if v[j - 1] == v[place])])
            assert place > 0 or sampling == "uniform"  # a planted hop is always there
            ends.append(place)
            assert sampling == "uniform" or v[place] == item.target
    # pairs stand anywhere: the last one is on average after a (hops + 1)th of the others
    mean = sum(reached["planted"]) / 100
    assert mean == pytest.approx((255 - hops) / (hops + 1) + 2, abs=2.5)
    assert sum(reached["uniform"]) / 100 > (170 if hops == 16 else 85)


def test_planted_fillers_are_any_letter_that_moves_no_hop() -> None:
    """All sequences of a small task occur, and none that has a hop missing or two that overlap."""
    task = make_task("p_hop", {"hops": 3, "length": 8, "alphabet": 3, "sampling": "planted"})
    drawn = {
        tuple(item.prompt.split("\n")[1].split(" ")[:-1])
        for split in SPLITS
        for item in Source(task, split, 0).items(0, 8000)
    }
    every = set()
    for v in itertools.product("abc", repeat=8):
        place, places = 7, []
        for _ in range(3):
            before = [j for j in range(1, place + 1) if v[j - 1] == v[place]]
            place = before[-1] if before else -1
            places.append(place)
            if not before:
                break
        # pairs (place - 1, place) that do not overlap each other or the last token
        apart = all(b < a - 1 for a, b in itertools.pairwise(places))
        if places[-1] > 0 and places[0] < 7 and apart:
            every.add(v)
    assert drawn == every
