"""Significance tests: equal to scipy's where scipy has the same test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from growloop.core.significance import (
    mcnemar,
    paired,
    paired_interval,
    paired_p,
    sign_flip,
    sign_flip_mean,
)
from scipy import stats

GOLDEN = {
    "answers": ((-0.11749836500759414, 0.9174983650075942), 0.21875),
    "partial credit": ((-0.36600369894822615, 0.7410036989482262), 0.375),
    "two tasks": ((-0.023628419473253448, 0.6932712766161105), 0.05078125),
    "losses": ((-0.7606868139281526, 0.9774100625000001), 0.375),
    "counts": ((-1.2677868380553634, 3.2677868380553634), 0.375),
}
"""Differences -> interval and p-value."""


@pytest.mark.parametrize(("better", "worse"), [(0, 1), (3, 3), (9, 0), (8, 2), (40, 21)])
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(better: int, worse: int) -> None:
    expected = stats.binomtest(better, better + worse).pvalue
    assert mcnemar(better, worse) == pytest.approx(expected)
    first = [True] * better + [False] * worse + [True] * 5
    second = [False] * better + [True] * worse + [True] * 5
    assert paired(first, second).p == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_sign_flips_are_the_paired_permutation_test(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.normal(0.3, 1.0, 10)
    whole = random.integers(-3, 4, 10)
    for differences, p in (
        (sizes, sign_flip_mean(sizes.tolist())),
        (whole.astype(float), sign_flip(whole.tolist())),
    ):
        expected = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert p == pytest.approx(expected)


def test_intervals_and_p_values_of_paired_comparisons_stay_as_they_were() -> None:
    answers, partial = [1.0, 0.0, 1.0, -1.0, 1.0, 0.0, 1.0, 1.0], [0.5, -0.25, 0.125, 0.75]
    counts = [2.0, -1.0, 3.0, 0.0, 1.0]
    found = {
        "answers": (paired_interval([answers]), paired_p([answers])),
        "partial credit": (paired_interval([partial]), paired_p([partial])),
        "two tasks": (paired_interval([answers, partial]), paired_p([answers, partial])),
        "losses": (paired_interval([partial], bounded=False), paired_p([partial])),
        "counts": (paired_interval([counts], bounded=False), paired_p([counts], math.inf)),
    }
    for name, ((low, high), p) in GOLDEN.items():
        interval, found_p = found[name]
        assert interval == pytest.approx((low, high), rel=1e-12), name
        assert found_p == pytest.approx(p, rel=1e-12), name
    assert paired_interval([[1.0], answers]) is None
    assert paired_interval([answers, partial], bounded=False) is None
