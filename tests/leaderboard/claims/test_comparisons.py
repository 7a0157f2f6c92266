"""Comparisons of records come to a verdict: all four of them, on records made for it."""

from __future__ import annotations

from typing import Any

import pytest
from growloop.core.statistics import SHARE, share_interval, sum_interval
from growloop.leaderboard import Task
from growloop.leaderboard.claims.verdicts import (
    Claim,
    Comparison,
    RecordFilter,
    Term,
    comparison_effect,
    evaluate_claims,
)

from ..making import SUITE, result

LOOPED = RecordFilter(family=("looped",))
STANDARD = RecordFilter(family=("standard",))


def looped_less_standard(**more: Any) -> Comparison:
    terms = Term(1, LOOPED), Term(-1, STANDARD)
    return Comparison("looped less standard", terms, ("reasoning*",), 0.01, **more)


def less(first: float, second: float, stderr: float) -> tuple[float, float]:
    """The interval of a difference of shares."""
    sides = [(value, share_interval(value, None, stderr) or SHARE) for value in (first, second)]
    return sum_interval([(1, *sides[0]), (-1, *sides[1])])


def verdict_of(pairs: list[tuple[float, float]], **more: Any) -> str:
    """Of pairs of looped and standard, one a training."""
    found = []
    for seed, (looped, standard) in enumerate(pairs):
        found += [result("looped", looped, seed), result("standard", standard, seed)]
    return comparison_effect(looped_less_standard(**more), found).verdict


def test_a_clear_gain_supports() -> None:
    assert verdict_of([(0.5, 0.4), (0.52, 0.41), (0.49, 0.4)]) == "supported"


@pytest.mark.parametrize("gain", [-0.1, 0.0, 0.005])
def test_a_loss_or_a_gain_that_does_not_matter_contradicts(gain: float) -> None:
    shifts = (0.0, 0.001, -0.001)
    pairs = [(0.4 + gain + shift, 0.4) for shift in shifts]
    assert verdict_of(pairs) == "contradicted"


def test_what_varies_as_much_as_it_gains_decides_nothing() -> None:
    assert verdict_of([(0.6, 0.4), (0.4, 0.4), (0.45, 0.44)]) == "undecided"


def test_what_was_not_measured_was_not_run() -> None:
    found = comparison_effect(looped_less_standard(), [result("looped", 0.5)])
    assert found.verdict == "not run at this scale"
    assert "standard models" in found.why
    assert found.value is None


def test_one_training_decides_nothing_about_kinds_of_models() -> None:
    records = [result("looped", 0.9), result("standard", 0.1)]
    found = comparison_effect(looped_less_standard(), records)
    assert found.verdict == "undecided"
    assert "one run" in found.why
    assert found.value == pytest.approx(0.8)
    assert found.low == pytest.approx(less(0.9, 0.1, 0.005)[0])
    assert found.low == pytest.approx(0.8 - 1.96 * 0.005 * 2**0.5, abs=1e-3)
    assert comparison_effect(looped_less_standard(unit="items"), records).verdict == "supported"


def test_several_seeds_of_a_study_are_no_further_trainings() -> None:
    records = [
        result(family, value + 0.001 * seed, study="s", about={"seed": 0})
        .model_copy(update={"seed": seed})
        for family, value in (("looped", 0.9), ("standard", 0.1))
        for seed in range(3)
    ]  # fmt: skip
    found = comparison_effect(looped_less_standard(study="s"), records)
    assert (found.verdict, found.runs) == ("undecided", 1)
    assert "3 seeds of the study" in found.why


def test_a_training_of_more_seeds_weighs_no_more() -> None:
    records = [
        result(family, value, study="s", stderr=0.03, about={"seed": training})
        .model_copy(update={"seed": seed})
        for family, value in (("looped", 0.9), ("standard", 0.1))
        for training, seed in ((0, 0), (0, 1), (0, 2), (1, 0))
    ]  # fmt: skip
    found = comparison_effect(looped_less_standard(study="s", unit="items"), records)
    stderr = 0.03 * ((1 / 3 + 1) / 4) ** 0.5  # of a side: three seeds and one, halved
    assert (found.low, found.high) == pytest.approx(less(0.9, 0.1, stderr))


def test_an_effect_on_accuracy_stays_between_minus_1_and_1() -> None:
    pairs = [(0.9, 0.1), (0.9, 0.5)]
    records = [
        result(family, value, seed)
        for seed, values in enumerate(pairs)
        for family, value in zip(("looped", "standard"), values, strict=True)
    ]
    found = comparison_effect(looped_less_standard(), records)
    assert (found.low, found.high) == (-1.0, 1.0)  # 0.6 ± 12.7 * 0.2
    records = [result("looped", 1.0, n=20, stderr=0.0), result("standard", 0.0, n=20, stderr=0.0)]
    found = comparison_effect(looped_less_standard(unit="items"), records)
    assert found.low is not None
    assert 0.7 < found.low < 0.8  # all of 20 right, and none
    assert found.high == 1.0


def test_trainings_that_do_not_differ_have_the_interval_over_items() -> None:
    records = [
        result(family, value, seed)
        for seed in range(3)
        for family, value in (("looped", 0.9), ("standard", 0.1))
    ]
    found = comparison_effect(looped_less_standard(), records)
    assert found.low is not None
    assert 0.78 < found.low < 0.8
    assert "items: 3 runs do not differ" in found.why


def test_without_standard_errors_nothing_is_decided() -> None:
    records = [result("looped", 0.9, stderr=None), result("standard", 0.1)]
    found = comparison_effect(looped_less_standard(unit="items"), records)
    assert (found.verdict, found.low) == ("undecided", None)


@pytest.mark.parametrize(
    "change", [{"version": "2"}, {"fingerprint": "cd"}, {"shots": 0}, {"split": "validation"}]
)
def test_what_is_not_comparable_is_not_compared(change: dict[str, Any]) -> None:
    task = SUITE.model_copy(update=change)
    records = [result("looped", 0.9), result("standard", 0.1, task=task)]
    found = comparison_effect(looped_less_standard(), records)
    assert found.verdict == "not run at this scale"
    assert "none comparable" in found.why


def test_the_mean_is_over_tasks_that_both_have() -> None:
    other = SUITE.model_copy(update={"name": "reasoning_primitives_d1"})
    alone = SUITE.model_copy(update={"name": "reasoning_primitives_d2"})
    records = [
        result("looped", 0.5),
        result("standard", 0.4),
        result("looped", 0.9, task=other),
        result("standard", 0.6, task=other),
        result("looped", 0.0, task=alone),
    ]
    found = comparison_effect(looped_less_standard(), records)
    assert found.value == pytest.approx((0.1 + 0.3) / 2)
    assert (found.groups, len(found.records)) == (2, 4)


def test_trainings_differ_in_their_seed_alone() -> None:
    """A kind of model, or a task, that has one training yet is no spread of seeds."""
    other = SUITE.model_copy(update={"name": "reasoning_primitives_d1"})
    records = [result("looped", 0.1, about={"name": "one training", "schedule": "2x4"})]
    records += [result(family, 0.1, task=other) for family in ("looped", "standard")]
    for seed in range(3):
        records += [result("looped", 0.5 + seed / 1000, seed), result("standard", 0.4, seed)]
    found = comparison_effect(looped_less_standard(), records)
    assert (found.verdict, found.runs, found.groups) == ("supported", 3, 3)
    assert found.value == pytest.approx(0.101)
    assert len(found.records) == 6
    names = [  # with nothing in common, each is what there is
        r.model_copy(update={"model": r.model.model_copy(update={"name": f"m{r.model.seed}"})})
        for r in records
        if r.value > 0.1
    ]
    assert comparison_effect(looped_less_standard(), names).runs == 3


def test_less_is_more_where_lower_is_better() -> None:
    task = Task(name="held_out", metric="nll", higher_is_better=False)
    records = [result("looped", 2.0, task=task), result("standard", 2.5, task=task)]
    terms = Term(1, LOOPED), Term(-1, STANDARD)
    comparison = Comparison("loss", terms, ("held_out",), 0.01, metric="nll", unit="items")
    assert comparison_effect(comparison, records).value == pytest.approx(0.5)


def test_a_model_looped_for_the_evaluation_is_not_taken_for_its_kind() -> None:
    records = [result("looped", 0.9), result("standard", 0.1, schedule="2-4x2-2")]
    assert comparison_effect(looped_less_standard(), records).verdict == "not run at this scale"


def test_scales_are_judged_apart() -> None:
    claim = Claim("c", "s", "p", (looped_less_standard(),))
    large = [
        record.model_copy(update={"model": record.model.model_copy(update={"size": "1B"})})
        for seed in range(3)
        for record in (
            result("looped", 0.3 - seed / 1000, seed),
            result("standard", 0.4, seed),
        )
    ]
    small = [
        record
        for seed in range(3)
        for record in (result("looped", 0.5 + seed / 1000, seed), result("standard", 0.4, seed))
    ]
    found = {f.scale: f.verdict for f in evaluate_claims(large + small, [claim])}
    assert found == {"1B": "contradicted", "30M": "supported"}


def items(**more: Any) -> Comparison:
    return looped_less_standard(unit="items", **more)


def test_a_model_in_two_precisions_is_no_further_sample() -> None:
    once = [result("looped", 0.5, dtype="float32"), result("standard", 0.4, dtype="float32")]
    again = [result("looped", 0.51, dtype="bfloat16"), result("standard", 0.4, dtype="bfloat16")]
    single, both = comparison_effect(items(), once), comparison_effect(items(), [*once, *again])
    assert (both.value, both.low, both.high) == (single.value, single.low, single.high)
    assert set(both.records) == {record.id for record in once}  # the more precise ones


def test_precisions_are_not_compared_with_each_other() -> None:
    mixed = [result("looped", 0.5, dtype="float32"), result("standard", 0.4, dtype="bfloat16")]
    found = comparison_effect(items(), mixed)
    assert found.verdict == "not run at this scale"
    assert "precision" in found.why
    settings = [result("looped", 0.5, settings={"softmax_dtype": "float64"})]
    assert comparison_effect(items(), [*settings, result("standard", 0.4)]).verdict == found.verdict


def test_the_precision_that_most_trainings_have_is_compared() -> None:
    records = [
        result(family, value, seed, dtype=dtype)
        for family, value in (("looped", 0.5), ("standard", 0.4))
        for seed, dtypes in enumerate((("float32", "bfloat16"), ("bfloat16",), ("bfloat16",)))
        for dtype in dtypes
    ]
    found = comparison_effect(looped_less_standard(), records)
    assert found.runs == 3
    assert set(found.records) == {r.id for r in records if r.dtype == "bfloat16"}


def test_two_checkpoints_of_one_run_are_two_models_in_a_verdict() -> None:
    records = [
        result(family, value + step / 1e4, about={"step": step, "digest": f"{step:064d}"})
        for step in (100, 200)
        for family, value in (("looped", 0.5), ("standard", 0.4))
    ]
    records = [
        r.model_copy(update={"model": r.model.model_copy(update={"digest": f"{i:064d}"})})
        for i, r in enumerate(records)
    ]
    assert len(comparison_effect(items(), records).records) == 4
