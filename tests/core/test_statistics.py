"""Intervals: what they are known to be, how often they hold the truth, and the range they keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from growloop.core.statistics import (
    CHANGE,
    DRAWS,
    SHARE,
    SIZE,
    change_interval,
    error_interval,
    jackknife_error,
    mean_interval,
    mean_intervals,
    quotient_interval,
    ratio_error,
    ratio_interval,
    seeds_interval,
    share_interval,
    student,
    sum_interval,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ..benchmarks.interval_coverage import CASES, covered, means, seeds

FEW = 400  # studies of a case here; tests/benchmarks/interval_coverage.py takes 2,000


def test_quantiles_and_known_intervals_are_those_of_scipy() -> None:
    for freedom in (1, 2, 5, 30, 31, 50, 200, 10_000):
        assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-4)
    for right, n in ((0, 10), (3, 10), (1, 8), (50, 100), (999, 1000), (1000, 1000)):
        wanted = stats.binomtest(right, n).proportion_ci(method="wilsoncc")
        assert share_interval(right / n, n) == pytest.approx(tuple(wanted), abs=1e-9)
    values = [0.2, 0.5, 0.4, 0.7]
    expected = stats.t.interval(0.95, 3, 0.45, stats.sem(values))
    assert seeds_interval(values) == pytest.approx(expected, rel=1e-5)
    assert error_interval(0.45, stats.sem(values), 4) == pytest.approx(expected, rel=1e-5)
    assert error_interval(1.0, 0.5) == pytest.approx((1 - 0.5 * 1.959964, 1 + 0.5 * 1.959964))


def test_a_share_with_a_standard_error_has_the_interval_of_as_many_answers() -> None:
    stderr = math.sqrt(0.3 * 0.7 / 99)
    assert share_interval(0.3, 10_000, stderr) == pytest.approx(share_interval(0.3, 100))
    # of 50 answers to one task all right, of 50 to another none: no error shows
    assert share_interval(0.5, 100, 0.0) == share_interval(0.5, 100)
    assert share_interval(0.5) is None
    assert share_interval(1.0, None, 0.0) is None


def test_the_mean_has_the_wider_of_students_and_the_studentised_bootstrap() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 16)
    low, high = mean_interval(values.tolist()) or (0.0, 0.0)
    mean, error = values.mean(), stats.sem(values)
    random = np.random.Generator(np.random.Philox(0))
    drawn = random.multinomial(16, np.full(16, 1 / 16), size=DRAWS)
    ways = []
    for counts in drawn:
        again = np.repeat(values, counts)
        ways.append((again.mean() - mean) / stats.sem(again))
    below, above = np.quantile(ways, [0.025, 0.975])
    t = stats.t.ppf(0.975, 15)
    assert low == pytest.approx(mean - max(t, above) * error)
    assert high == pytest.approx(mean + max(t, -below) * error)
    assert high - mean > 1.3 * (mean - low)  # it follows the skew


def test_the_mean_of_one_column_is_that_of_many() -> None:
    values = np.random.default_rng(1).normal(size=(12, 3))
    low, high = mean_intervals(values)
    assert mean_interval(values[:, 1].tolist()) == pytest.approx((low[1], high[1]))
    assert ratio_interval(values[:, 1].tolist(), [1.0] * 12) == pytest.approx((low[1], high[1]))


def test_errors_of_ratios_and_of_jackknifes_are_those_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=(20, 1))
    error = float(stats.sem(values[:, 0]))
    assert ratio_error(values[:, 0].tolist(), [1.0] * 20) == pytest.approx(error)
    assert jackknife_error(values, lambda mean: mean[..., 0]) == pytest.approx(error)


def test_a_change_is_bonett_and_prices_interval() -> None:
    better, worse, n = 7, 2, 40
    first, second = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    half = 1.959964 * math.sqrt((first + second - (first - second) ** 2) / (n + 2))
    found = change_interval([[1.0] * better + [-1.0] * worse + [0.0] * (n - better - worse)])
    # the square around the mean is divided by n - 1, as of a sample
    assert found == pytest.approx((first - second - half, first - second + half), abs=2e-3)


def test_a_gap_closed_has_the_ends_at_which_its_difference_has_an_end_at_0() -> None:
    random = np.random.default_rng(3)
    part, whole = (random.choice([0.0, 1.0, 1.0], 400) for _ in range(2))
    part *= random.choice([0.0, 1.0], 400)
    ends = quotient_interval([part], [whole])
    assert ends is not None
    for end in ends:
        off = part - end * whole
        assert abs(off.mean()) == pytest.approx(1.959964 * stats.sem(off), rel=0.02)
    assert quotient_interval([part], [random.choice([-1.0, 1.0], 400)]) is None


def test_a_sum_of_normal_intervals_is_a_normal_interval() -> None:
    terms = [(1.0, 2.0, (1.4, 2.6)), (-2.0, 1.0, (0.6, 1.4))]
    half = math.hypot(0.6, 2 * 0.4)
    assert sum_interval(terms) == pytest.approx((-half, half))


@pytest.mark.parametrize("name", ["normal", "exponential", "lognormal", "skewed share"])
@pytest.mark.parametrize("n", [8, 16, 32, 200])
def test_the_interval_of_a_mean_holds_it(name: str, n: int) -> None:
    studies = 2000 if n < 100 else 500
    found = means(name, n, studies, np.random.default_rng(n))
    # nothing without a model reaches 95 % of few lognormal values
    least = {8: 0.885, 16: 0.91, 32: 0.92}.get(n, 0.93) if name == "lognormal" else 0.93
    assert found >= least


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [8, 32])
def test_every_other_interval_holds_what_it_is_of(name: str, n: int) -> None:
    # a standard error alone says nothing of the skew
    known = {"depth score": 0.89, "periodicity": 0.89, "record's mean, lognormal": 0.79}
    least = known.get(name, 0.92)
    assert covered(CASES[name], n, FEW, np.random.default_rng(n)) >= least


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_over_seeds_holds_the_mean(n: int) -> None:
    assert covered(seeds, n, 2000, np.random.default_rng(n)) >= 0.935


def test_what_does_not_vary_has_no_interval_but_answers_have() -> None:
    assert seeds_interval([0.5, 0.5, 0.5]) is None
    assert seeds_interval([0.5]) is None
    assert seeds_interval([0.1 + 0.2, 0.3, 0.3]) is None  # equal up to rounding
    assert mean_interval([0.3] * 16) is None
    assert ratio_interval([0.3] * 16, [1.0] * 16) is None
    assert mean_interval([1.0]) is None
    assert error_interval(1.0, 0.0, 16) is None
    low, high = mean_intervals(np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]))
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] < 2 < high[1]
    # rule of three: 3 / n is what may lie behind none of n
    assert share_interval(0.0, 300) == pytest.approx((0.0, 0.0157), abs=1e-3)
    assert change_interval([[0.0] * 300])[1] == pytest.approx(0.0092, abs=1e-3)


shares = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
small = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=20)


@given(shares)
def test_an_interval_of_a_share_is_a_part_of_0_to_1_around_it(some: tuple[int, int]) -> None:
    low, high = share_interval(some[0] / some[1], some[1]) or (-1.0, -1.0)
    assert 0 <= low <= some[0] / some[1] <= high <= 1
    assert high - low > 0


@given(st.lists(small, min_size=1, max_size=3))
def test_an_interval_of_a_change_is_a_part_of_its_range(tasks: list[list[float]]) -> None:
    low, high = change_interval(tasks)
    assert -1 <= low < high <= 1


@given(st.lists(st.tuples(st.sampled_from([-1.0, 0.5, 1.0]), shares), min_size=1, max_size=4))
def test_an_interval_of_a_sum_is_within_the_range_of_the_sum(
    terms: list[tuple[float, tuple[int, int]]],
) -> None:
    found = [(w, k / n, share_interval(k / n, n) or SHARE) for w, (k, n) in terms]
    low, high = sum_interval(found)
    assert low >= sum(min(0.0, weight) for weight, _ in terms) - 1e-12
    assert high <= sum(max(0.0, weight) for weight, _ in terms) + 1e-12


@pytest.mark.parametrize(
    ("found", "within"),
    [
        (mean_interval([1.0] * 15 + [0.9], SHARE), SHARE),
        (mean_interval([0.0] * 15 + [9.0], SIZE), SIZE),
        (seeds_interval([0.95, 1.0], SHARE), SHARE),
        (seeds_interval([0.9, -0.2], CHANGE), CHANGE),
        (ratio_interval([0.0] * 15 + [11.0], [1.0] * 16, (0.0, 11.0)), (0.0, 11.0)),
        (error_interval(0.99, 0.1, 5, SHARE), SHARE),
    ],
)
def test_bounded_quantities_never_leave_their_range(found: Any, within: Any) -> None:
    assert within[0] <= found[0] < found[1] <= within[1]
