"""Verdicts are computed from records: all four of them, on records made for it."""

from __future__ import annotations

from typing import Any

import pytest
from growloop.core.statistics import SHARE, share_interval, sum_interval
from growloop.leaderboard import Record, Task
from growloop.leaderboard.claims.findings import (
    Claim,
    Comparison,
    Effect,
    Finding,
    RecordFilter,
    Term,
    comparison_effect,
    evaluate_claims,
)
from growloop.leaderboard.claims.paper_claims import CLAIMS
from growloop.leaderboard.paper import paper_rows

from ..making import SUITE, result

BY_ID = {claim.id: claim for claim in CLAIMS}
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
    assert "one training" in found.why
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
    assert (found.verdict, found.trainings) == ("undecided", 1)
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
    assert "items: 3 trainings do not differ" in found.why


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
    assert (found.verdict, found.trainings, found.groups) == ("supported", 3, 3)
    assert found.value == pytest.approx(0.101)
    assert len(found.records) == 6
    names = [  # with nothing in common, each is what there is
        r.model_copy(update={"model": r.model.model_copy(update={"name": f"m{r.model.seed}"})})
        for r in records
        if r.value > 0.1
    ]
    assert comparison_effect(looped_less_standard(), names).trainings == 3


def test_less_is_more_where_lower_is_better() -> None:
    task = Task(name="held_out", metric="nll", higher_is_better=False)
    records = [result("looped", 2.0, task=task), result("standard", 2.5, task=task)]
    terms = Term(1, LOOPED), Term(-1, STANDARD)
    comparison = Comparison("loss", terms, ("held_out",), 0.01, metric="nll", unit="items")
    assert comparison_effect(comparison, records).value == pytest.approx(0.5)


def test_a_model_looped_for_the_evaluation_is_not_taken_for_its_kind() -> None:
    records = [result("looped", 0.9), result("standard", 0.1, schedule="2-4x2-2")]
    assert comparison_effect(looped_less_standard(), records).verdict == "not run at this scale"


def finding(claim: str, records: list[Record]) -> Finding:
    (found,) = evaluate_claims(records, [BY_ID[claim]])
    return found


def test_all_comparisons_of_a_claim_must_hold() -> None:
    def with_values(lidas: float, midas: float, standard: float) -> list[Record]:
        return [
            record
            for seed in range(3)
            for record in (
                result("grown", lidas + seed / 1000, seed),
                result("grown", midas - seed / 1000, seed, operator="midas"),
                result("standard", standard, seed),
            )
        ]

    claim = "lidas-over-midas-over-standard"
    assert finding(claim, with_values(0.6, 0.5, 0.4)).verdict == "supported"
    assert finding(claim, with_values(0.6, 0.5, 0.5)).verdict == "contradicted"
    found = finding(claim, [r for r in with_values(0.6, 0.5, 0.4) if r.model.family == "grown"])
    assert found.verdict == "undecided"  # LIDAS over MIDAS alone
    assert [e.verdict for e in found.effects] == ["supported", "not run at this scale"]


def repeats(family: str, values: dict[int, float], seed: int, **more: Any) -> list[Record]:
    """Inference scaling: the chosen block, and another that is left aside."""
    found = []
    for times, value in values.items():
        conditions: dict[str, Any] = {"times": times, "chosen": True, "block": "4:8"}
        if times:
            found.append(
                result(
                    family, 0.0, seed, study="inference-scaling",
                    conditions={"times": times, "block": "0:4"}, **more,
                )
            )  # fmt: skip
        found.append(
            result(family, value, seed, study="inference-scaling", conditions=conditions, **more)
        )
    return found


def test_gains_are_compared_with_gains() -> None:
    records = []
    for seed in range(3):
        records += repeats("grown", {0: 0.4, 1: 0.6 + seed / 1000, 2: 0.62}, seed)
        records += repeats("standard", {0: 0.5, 1: 0.51, 2: 0.4}, seed)
    gain = finding("grown-models-gain-from-repeats", records)
    assert gain.verdict == "supported"
    assert gain.effects[0].value == pytest.approx(0.2 + 0.001 - 0.01)
    first = finding("first-repeat-gives-most", records)
    assert first.verdict == "supported"
    assert first.effects[0].value == pytest.approx(0.201)
    assert first.effects[1].value == pytest.approx(0.202 - 0.02, abs=1e-3)


def test_a_first_repeat_that_gains_nothing_does_not_give_most() -> None:
    records = [r for seed in range(3) for r in repeats("grown", {0: 0.6, 1: 0.6, 2: 0.3}, seed)]
    assert finding("first-repeat-gives-most", records).verdict != "supported"


def test_retrofitting_is_judged_by_what_three_repeats_cost() -> None:
    records = []
    for seed in range(3):
        records += repeats("retrofitted", {0: 0.5, 3: 0.49 + seed / 1000}, seed)
        records += repeats("grown", {0: 0.5, 3: 0.3}, seed)
        # neither is what the retrofitted model was before: it is judged without them
        records += repeats("standard", {0: 0.5, 3: 0.5}, seed)
        looped = {"name": "looped once more", "schedule": "2-2x3-2", "unique_layers": 6}
        looped |= {"effective_layers": 14, "growth": ()}
        records += repeats("retrofitted", {0: 0.5, 3: 0.1}, seed, about=looped)
    assert finding("retrofit-stabilises", records).verdict == "supported"
    worse = [r.model_copy(update={"value": 0.8 - r.value}) for r in records]
    assert finding("retrofit-stabilises", worse).verdict == "contradicted"


def test_shots_are_compared_from_the_fewest_to_the_most_that_all_have() -> None:
    records = []
    for seed in range(3):
        for family, gain in (("looped", 0.3), ("grown", 0.2), ("standard", 0.05)):
            levels = {0: 0.2, 8: 0.2 + gain / 2, 32: 0.2 + gain - seed / 1000}
            if family != "standard":
                levels[64] = 0.0  # the standard model has none: left out
            for shots, value in levels.items():
                task = SUITE.model_copy(update={"shots": shots})
                records.append(result(family, value, seed, task=task, study="in-context-scaling"))
    found = finding("examples-help-iterative-models-more", records)
    assert found.verdict == "supported"
    assert [e.value for e in found.effects] == pytest.approx([0.25, 0.15])


SMALLER = {"name": "smaller", "schedule": "3", "unique_layers": 3, "effective_layers": 3}


def test_studies_compare_models_of_one_depth() -> None:
    """A small standard model is no partner: that it does worse speaks for no kind of model."""
    records = []
    for seed in range(3):
        for family, about in (
            ("grown", {}),
            ("looped", {}),
            ("standard", {}),
            ("standard", SMALLER),
        ):
            value = 0.1 if about else 0.5
            given: dict[str, Any] = {"seed": seed, "about": about}
            records += repeats(family, {0: 0.5, 1: value, 2: value}, **given)
            for swapped, loss in ((0, 0.0), (1, 0.5 - value)):
                records.append(
                    result(family, 0.5 - loss, study="swaps", conditions={"swapped": swapped},
                           **given)
                )  # fmt: skip
            for shots, gain in ((0, 0.0), (5, value - 0.5)):
                task = SUITE.model_copy(update={"shots": shots})
                records.append(
                    result(family, 0.5 + gain, task=task, study="in-context-scaling", **given)
                )
            task = SUITE.model_copy(update={"name": "variable_assignment_code_d1"})
            tuned = {"examples": 64, "train_depths": "1,2", "lr": 1e-4}
            asked: dict[str, Any] = {"task": task, "study": "sample-efficiency"}
            records.append(result(family, value, conditions=tuned, **asked, **given))
            if family == "looped":  # with another learning rate: says nothing beside the others
                more = tuned | {"lr": 1e-3}
                records.append(result(family, 0.9, conditions=more, **asked, **given))
    for claim in (
        "grown-models-gain-from-repeats",
        "full-loops-depend-on-order",
        "examples-help-iterative-models-more",
        "fine-tuning-needs-fewer-examples",
    ):
        for found in finding(claim, records).effects:
            assert found.value == pytest.approx(0.0, abs=1e-12), found.comparison.what


def test_an_untied_model_is_compared_with_itself_tied() -> None:
    task = SUITE.model_copy(update={"name": "variable_assignment_code_d1"})
    told: dict[str, Any] = {"task": task, "study": "sample-efficiency"}
    told |= {"conditions": {"examples": 64}}
    partly = {"schedule": "1-2x3-1", "unique_layers": 4}
    records = [
        result("looped", 0.5, **told),
        result("untied", 0.4, about={"schedule": "4x2", "unique_layers": 4}, **told),
        result("looped", 0.9, about=partly, **told),  # not measured untied
    ]
    [found] = finding("ties-help-in-fine-tuning", records).effects
    assert found.value == pytest.approx(0.1)


def test_saved_flops_count_at_equal_loss_only() -> None:
    task = Task(name="held_out", metric="nll", higher_is_better=False)

    def runs(loss: float) -> list[Record]:
        return [
            result(
                family, value + seed / 1000, seed, task=task,
                about={"training_flops": flops, "effective_layers": 8},
            )
            for seed in range(3)
            for family, value, flops in (("grown", loss, 7e9), ("standard", 2.0, 1e10))
        ]  # fmt: skip

    same, worse = (finding("growing-saves-training", runs(loss)) for loss in (2.0, 2.2))
    assert same.verdict == "supported"
    assert same.effects[0].value == pytest.approx(0.3)
    assert worse.verdict == "contradicted"


def test_saved_flops_are_of_models_however_often_they_were_scored() -> None:
    records = [
        result("standard", 0.5, about={"training_flops": 1e10}),
        result("grown", 0.5, about={"name": "lidas", "training_flops": 6e9}),
        result("grown", 0.5, about={"name": "midas", "training_flops": 8e9}),
    ]
    tasks = (SUITE.model_copy(update={"name": f"task {number}"}) for number in range(8))
    records += [records[1].model_copy(update={"task": task}) for task in tasks]
    saved, _ = finding("growing-saves-training", records).effects
    assert saved.value == pytest.approx(0.3)


def test_a_checkpoint_that_was_not_trained_saves_nothing() -> None:
    about = {"training_flops": 0.0}
    records = [result(family, 0.5, about=about) for family in ("grown", "standard")]
    assert finding("growing-saves-training", records).verdict == "not run at this scale"


def test_every_claim_is_decided_by_the_records_it_asks_for() -> None:
    """Records that match the terms exist for every claim: none asks for what cannot be."""
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            assert comparison.least != 0
            assert sum(term.weight for term in comparison.terms) == 0
            for term in comparison.terms:
                assert term.where.family
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) >= 12


def test_the_papers_own_rows_come_to_what_its_tables_say() -> None:
    found = {
        (f.claim.id, f.scale): [e.value for e in f.effects]
        for f in evaluate_claims(paper_rows(), CLAIMS)
        if f.verdict != "not run at this scale"
    }
    gains = [0.3384 - 0.1658, (0.4122 + 0.3988) / 2 - 0.3542]
    assert found["looping-at-equal-parameters", "1.7B"] == pytest.approx([sum(gains) / 2])
    assert found["lidas-over-midas-over-standard", "1.7B"] == pytest.approx(
        [0.4802 - 0.4088, 0.4088 - 0.3462]
    )
    fmt = (0.301 + 0.3284 + 0.4012) / 3
    assert found["better-math-in-the-cooldown-helps", "360M"] == pytest.approx(
        [(0.357 + 0.3842 + 0.422) / 3 - fmt, fmt - (0.3004 + 0.2842 + 0.3158) / 3]
    )


def test_no_claim_is_about_effects_of_taking_the_first_token_away() -> None:
    told = "texts, at most 128 tokens, 4 cuts"
    names = "late-layers-are-used", "depth score, as a share of the depth: looped less standard"

    def decided(prompting: str) -> Effect:
        task = Task(name="depth_score", metric="depth_score", prompting=prompting)
        records = [
            result(family, value + seed / 1000, seed, task=task, study="depth")
            for family, value in (("looped", 0.6), ("standard", 0.4))
            for seed in range(3)
        ]
        effects = finding(names[0], records).effects
        return next(found for found in effects if found.comparison.what == names[1])

    assert decided(f"{told}, skip_front 1").verdict == "supported"
    for old in (told, f"{told}, skip_front 0"):
        found = decided(old)
        assert found.verdict == "not run at this scale"
        assert found.why == (
            "no records of looped models; standard models from study depth, first tokens left alone"
        )


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
    assert found.trainings == 3
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
