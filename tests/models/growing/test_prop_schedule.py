"""Steps of growth stages: PROP-alpha."""

from __future__ import annotations

from itertools import accumulate

import pytest
from growloop.core.errors import InputError
from growloop.models import prop_schedule
from hypothesis import given
from hypothesis import strategies as st


def test_prop_1_gives_the_stage_ends_of_the_paper() -> None:
    stages = prop_schedule(170_000, 6)
    assert list(accumulate(stages)) == [8095, 24286, 48571, 80952, 121429, 170000]


@given(st.integers(1, 30), st.integers(0, 10**9), st.sampled_from([0, 0.5, 1, 1.5, 2]))
def test_stages_sum_exactly_and_follow_the_power(stages: int, more: int, alpha: float) -> None:
    total = 40_000 + more
    steps = prop_schedule(total, stages, alpha)
    assert sum(steps) == total
    weights = [i**alpha for i in range(1, stages + 1)]
    for step, weight in zip(steps, weights, strict=True):
        assert abs(step - total * weight / sum(weights)) <= 1 + total * 1e-12


@pytest.mark.parametrize("bad", [(0, 3), (10, 0), (2, 3), (1.5, 2)])
def test_stages_that_cannot_be_are_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        prop_schedule(*bad)
