"""Power of claims: shares of decisions against scipy and against records made at random."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.leaderboard import Store
from growloop.leaderboard.claims.power import (
    claim_outlook,
    comparison_power,
    decision_shares,
    detectable_effect,
    needed_runs,
)
from growloop.leaderboard.claims.verdicts import Comparison, Effect, comparison_effect
from scipy import stats

from ..making import result
from .test_comparisons import looped_less_standard


def pairs(differences: list[float], **more: object) -> list:
    """Records of a looped and a standard model for each training seed."""
    return [
        record
        for seed, difference in enumerate(differences)
        for record in (
            result("looped", 0.5 + difference, seed, **more),
            result("standard", 0.5, seed, **more),
        )
    ]


@pytest.mark.parametrize(("trainings", "value"), [(2, 0.3), (3, 0.1), (5, 0.05), (20, 0.03)])
def test_the_share_supported_is_that_of_a_t_test(trainings: int, value: float) -> None:
    spread, freedom = 0.05, trainings - 1
    noncentral = stats.nct(freedom, value * math.sqrt(trainings) / spread)
    expected = noncentral.sf(stats.t.ppf(0.975, freedom))
    found = decision_shares(trainings, value, spread, least=1e-9)[0]
    assert found == pytest.approx(expected, abs=0.01)


def test_a_loss_is_contradicted_as_often_as_a_gain_is_supported() -> None:
    gain = decision_shares(4, 0.1, 0.05, least=1e-9)
    loss = decision_shares(4, -0.1, 0.05, least=1e-9)
    assert gain[0] == pytest.approx(loss[1], abs=0.01)


def test_an_effect_at_the_margin_is_never_decided() -> None:
    assert needed_runs(0.01, 0.05, 0.01) is None


def test_as_many_trainings_as_needed_decide_records_made_at_random() -> None:
    value, spread = 0.1, 0.06
    needed = needed_runs(value, spread, 0.01)
    assert needed is not None
    random = np.random.default_rng(0)
    verdicts = [
        comparison_effect(
            looped_less_standard(), pairs(list(random.normal(value, spread, count)))
        ).verdict
        for count in (needed, needed - 1)
        for _ in range(300)
    ]
    decided = [verdict != "undecided" for verdict in verdicts]
    assert np.mean(decided[:300]) > 0.8 - 0.06
    assert np.mean(decided[300:]) < 0.8 + 0.06


def test_the_detectable_effect_is_found_in_four_of_five_repeats() -> None:
    smallest = detectable_effect(5, 0.05, 0.01)
    assert decision_shares(5, smallest, 0.05, 0.01)[0] == pytest.approx(0.8, abs=0.01)


def power_of(differences: list[float], affordable: int = 10, **more: object):
    effect = comparison_effect(looped_less_standard(**more), pairs(differences))
    return comparison_power(effect, affordable)


def test_outlooks() -> None:
    assert power_of([0.1, 0.11, 0.1]).outlook == "decided"
    assert power_of([0.3, 0.1, 0.05]).outlook == "decidable"
    far = power_of([0.3, 0.1, 0.05], affordable=3)
    assert far.outlook == "not decidable here"
    assert "more than the 3" in far.why
    assert power_of([0.1]).outlook == "unknown"
    assert power_of([0.1, 0.1]).outlook == "unknown"


def test_an_impossible_effect_is_not_detectable() -> None:
    assert power_of([0.4, -0.4]).detectable is None  # a share cannot change by more than 1
    assert power_of([0.3, 0.1, 0.05]).detectable is not None


def test_errors_over_items_are_a_part_of_the_spread() -> None:
    power = power_of([0.03, 0.02, -0.01, 0.01])  # of 5,000 items each: standard error 0.007
    assert power.needed is not None
    assert power.needed_with_many_items is not None
    assert power.needed_with_many_items < power.needed


def test_statements_about_one_model_need_items() -> None:
    power = power_of([-0.003], unit="items")
    assert power.outlook == "decidable"
    assert power.needed is not None
    assert "times as many items" in power.why
    error = power.spread
    assert error == pytest.approx(0.005 * 2**0.5, rel=0.02)
    # value + 1.96 error / sqrt(n) below 0.01 in four of five repeats
    expected = math.ceil(((1.96 + 0.8416) * error / 0.013) ** 2)
    assert abs(power.needed - expected) <= 1


def test_a_claim_is_decidable_if_all_its_parts_are_or_one_contradicts_it() -> None:
    def part(value: float, outlook: str):
        effect = Effect(Comparison("x", (), (), 0.01), "undecided", "", value)
        power = comparison_power(effect)
        return type(power)(effect, outlook, "")  # type: ignore[arg-type]

    good, bad = part(0.2, "decidable"), part(0.2, "not decidable here")
    assert claim_outlook([good, good], "undecided") == "decidable"
    assert claim_outlook([good, bad], "undecided") == "not decidable here"
    assert claim_outlook([part(-0.2, "decidable"), bad], "undecided") == "decidable"
    assert claim_outlook([good, part(0.2, "unknown")], "undecided") == "unknown"
    assert claim_outlook([bad], "contradicted") == "decided"


@pytest.fixture
def folder(tmp_path):
    Store(tmp_path / "records").add(pairs([0.3, 0.1, 0.05]))
    return str(tmp_path / "records")


def test_the_command_says_what_would_decide(folder: str) -> None:
    found = CliRunner().invoke(main, ["claims", folder, "--power", "--affordable", "3"])
    assert found.exit_code == 0, found.output
    text = " ".join(found.output.split())
    assert "30M: not decidable here" in text
    assert "1 not decidable here (at most 3 training runs of each model)" in text
    content = json.loads(CliRunner().invoke(main, ["claims", folder, "--power", "--json"]).output)
    claim = next(part for part in content if part["claim"] == "looping-at-equal-inference")
    (effect,) = claim["effects"]
    assert effect["spread"] == pytest.approx(np.std([0.3, 0.1, 0.05], ddof=1))
    assert claim["outlook"] == effect["outlook"] == "decidable"
    rows = CliRunner().invoke(main, ["claims", folder, "--power", "--csv"]).output
    assert "needed_with_many_items" in rows.splitlines()[0]


def test_affordable_runs_belong_to_power(folder: str) -> None:
    found = CliRunner().invoke(main, ["claims", folder, "--affordable", "3"])
    assert found.exit_code == 2
    assert "--power" in found.output
