"""Verdicts on the paper's claims are computed from the records that each claim asks for."""

from __future__ import annotations

from typing import Any

import pytest
from growloop.leaderboard import Record, Task
from growloop.leaderboard.claims.paper_claims import CLAIMS
from growloop.leaderboard.claims.verdicts import (
    Effect,
    Finding,
    evaluate_claims,
)
from growloop.leaderboard.paper import paper_rows

from ..making import SUITE, result

BY_ID = {claim.id: claim for claim in CLAIMS}


def finding(claim: str, records: list[Record]) -> Finding:
    (found,) = evaluate_claims(records, [BY_ID[claim]])
    return found


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


SMALLER = {"name": "smaller", "schedule": "3", "unique_layers": 3, "effective_layers": 3}


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
