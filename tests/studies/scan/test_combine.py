"""Candidates, combinations and the report: what is listed, combined and said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models import Schedule
from growloop.studies.scan.candidates import Candidate, candidates, combination, own, repeat
from growloop.studies.scan.combine import Surrogate, expansions, repeat_counts
from growloop.studies.scan.items import ProbeItems
from growloop.studies.scan.report import gains, pareto, verdict
from growloop.studies.scan.settings import Settings, parse_budget
from growloop.studies.scan.stage import Estimate

BASE = Schedule.plain(6)


def estimate(candidate: Candidate, gain: float) -> Estimate:
    return Estimate(candidate, 50, True, 0.0, 0.5, gain, gain, gain, False, False)


def test_all_blocks_of_thirty_layers_up_to_eight_are_212() -> None:
    listed = candidates(Schedule.plain(30), max_block=8)
    assert len(listed) == 213
    assert listed[0] == own(Schedule.plain(30))
    assert len(candidates(Schedule.plain(30), max_block=None)) == 1 + 30 * 31 // 2
    assert {c.schedule.effective_depth - 30 for c in listed[1:]} == set(range(1, 9))


def test_the_default_takes_all_blocks_of_a_model_of_fewer_layers_than_eight() -> None:
    assert len(Settings().listed(BASE)) == 1 + 6 * 7 // 2
    with pytest.raises(InputError, match="larger than the model"):
        Settings(max_block=7).listed(BASE)


def test_equal_schedules_of_a_looped_model_are_one_candidate() -> None:
    listed = candidates(Schedule.parse("2x2"), max_block=2)
    schedules = [c.schedule for c in listed]
    assert len(set(schedules)) == len(schedules)
    assert "repeat 0:2" in [c.name for c in listed]  # the same as a repeat of 2:4
    assert "repeat 2:4" not in [c.name for c in listed]


def test_a_combination_repeats_each_block_at_its_place() -> None:
    both = combination(BASE, [(4, 6, 1), (0, 1, 2)])
    assert both.schedule.layers == (0, 0, 0, 1, 2, 3, 4, 5, 4, 5)
    assert both.name == "repeat 0:1 x2 + 4:6"
    with pytest.raises(InputError, match="overlap"):
        combination(BASE, [(0, 3, 1), (2, 4, 1)])


def test_the_surrogate_finds_which_layers_help() -> None:
    effects = np.array([-0.5, 0.1, 0.3, 0.2, -0.1, -0.4])
    listed = candidates(BASE, max_block=3)
    known = [estimate(c, float(repeat_counts([c], 6)[0] @ effects)) for c in listed]
    surrogate = Surrogate(known, 6)
    new = [combination(BASE, [(2, 3, 1), (3, 4, 1)]), combination(BASE, [(0, 1, 1), (5, 6, 1)])]
    good, bad = surrogate.predict(new)
    assert good > 0.3 > -0.3 > bad


def test_expansions_are_new_disjoint_within_the_limit_and_the_best_first() -> None:
    singles = [repeat(BASE, 2, 3), repeat(BASE, 3, 4), repeat(BASE, 2, 4), repeat(BASE, 0, 1)]
    gains_of = {"repeat 2:3": 0.3, "repeat 3:4": 0.2, "repeat 2:4": 0.4, "repeat 0:1": -0.3}
    surrogate = Surrogate([estimate(own(BASE), 0.0), *(estimate(c, gains_of[c.name])
                                                       for c in singles)], 6)  # fmt: skip
    found = expansions(BASE, singles[:1], singles, surrogate, most_extra=2, beam=4)
    names = [c.name for c in found]
    assert set(names) == {"repeat 2:3 x2", "repeat 2:3 + 3:4", "repeat 0:1 + 2:3"}
    assert names[-1] == "repeat 0:1 + 2:3"
    assert expansions(BASE, singles[:1], singles, surrogate, most_extra=1, beam=4) == []


def test_gains_are_paired_and_corrected_for_all_that_are_reported() -> None:
    random = np.random.Generator(np.random.Philox(0))
    plain = random.random((1, 200)) < 0.5
    better = plain | (random.random((1, 200)) < 0.3)
    correct = np.stack([plain, better, plain])
    margins = correct * 2.0 - 1.0
    some = [own(BASE), repeat(BASE, 1, 2), repeat(BASE, 2, 3)]
    probe = ProbeItems("probe", "test", 0.2, ())
    one, same = gains(some, [probe], margins, correct)
    assert one.difference == pytest.approx(float(better.mean() - plain.mean()))
    assert 0 < one.low < one.difference < one.high
    [alone] = gains(some[:2], [probe], margins[:2], correct[:2])
    assert one.p == pytest.approx(2 * alone.p)
    assert same.p == 1.0
    assert same.difference == 0.0


RESULT: dict[str, Any] = {
    "chosen": "repeat 6:10", "candidates": 212, "complete": True, "validation_items": 200,
    "extra_flops": 0.134, "test": [{"difference": 0.118, "low": 0.08, "high": 0.154, "p": 2e-9}],
    "control": {"difference": 0.01, "low": -0.02, "high": 0.04}, "held_out": {"increase": 0.17},
}  # fmt: skip


def test_the_verdict_is_one_sentence_with_gain_choice_control_and_prices() -> None:
    assert verdict(RESULT) == (
        "repeat 6:10 once: +0.118 [0.080, 0.154] on test, p = 2e-09, chosen among 212; "
        "counterfactual control +0.010 [-0.020, 0.040]; held-out NLL +0.170 nats a token; "
        "FLOPs +13%"
    )
    noise = {**RESULT, "test": [{"difference": 0.01, "low": -0.02, "high": 0.04, "p": 0.5}]}
    assert "this gain is not significant" in verdict(noise)
    none = verdict({**RESULT, "chosen": "plain"})
    assert none.startswith("no edit is better than the model as it is, among 212")
    early = {**RESULT, "complete": False, "alive": ["plain", "repeat 6:10", "repeat 6:9"]}
    for race, left in (("bets", " with 2 of them left"), ("none", "")):
        found = verdict({**early, "options": {"race": race}})
        assert f"among 212, budget spent after 200 items a probe{left}; " in found


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    rows = [{"g": g, "f": f} for g, f in [(0.0, 0.0), (0.3, 0.2), (0.2, 0.1), (0.1, 0.3)]]
    assert pareto(rows, "g", "f") == [True, True, True, False]


@pytest.mark.parametrize("text", ["20", "m", "-5m", "0s", "1e999flops", "2e15 flop"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a budget is a time or FLOPs"):
        parse_budget(text)
