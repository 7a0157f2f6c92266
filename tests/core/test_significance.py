"""Significance tests: equal to scipy's where scipy has the same test."""

from __future__ import annotations

import numpy as np
import pytest
from growloop.core.significance import mcnemar, paired, sign_flip, sign_flip_mean
from scipy import stats


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
