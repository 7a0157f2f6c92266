"""The forest plot of the claims: its rows, its axis, and the sentence above it."""

from __future__ import annotations

from growloop.leaderboard import Model, Record, Task
from growloop.leaderboard.claims.paper_claims import CLAIMS
from growloop.leaderboard.claims.verdicts import evaluate_claims
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.forest_plot import Forest, forest

SUITE = Task(name="reasoning_primitives", version="1", fingerprint="ab", shots=5, chance=0.16)


def suite_records(looped: float, seeds: int = 3, size: str = "small") -> list[Record]:
    """Looped and standard models of three unique layers; the standard ones score about 0.5."""
    return [
        Record(
            model=Model(
                name=name,
                family=family,
                size=size,
                seed=seed,
                schedule=schedule,
                unique_layers=3,
                effective_layers=layers,
            ),
            task=SUITE,
            value=value + (seed - 1 if family == "looped" else 0) / 1000,
            n=5000,
            stderr=0.007,
        )
        for name, family, schedule, layers, value in (
            ("loop", "looped", "3x2", 6, looped),
            ("plain", "standard", "3", 3, 0.5),
        )
        for seed in range(seeds)
    ]


def plot(records: list[Record]) -> Forest:
    return forest(evaluate_claims([*records, *paper_rows()], CLAIMS))


def test_a_row_has_effect_interval_verdict_runs_and_the_papers_own_effects() -> None:
    [row] = plot(suite_records(0.7)).rows
    assert row.finding.claim.id == "looping-at-equal-parameters"
    assert round(row.effect.value or 0, 3) == 0.2
    assert row.effect.low is not None
    assert (row.effect.verdict, row.effect.runs) == ("supported", 3)
    assert row.over == "3 runs"
    [single] = plot(suite_records(0.7, seeds=1)).rows
    assert single.over == "items"
    assert {(r.scale, round(r.value, 3)) for r in row.reported} == {
        ("1.7B", 0.112),
        ("360M", 0.043),
    }


def test_the_heading_says_what_was_decided() -> None:
    assert plot([]).heading == "No claim of the paper has records here yet"
    assert plot(suite_records(0.7)).heading == "1 claim tested here: 1 supported"
    assert plot(suite_records(0.4)).heading == "1 claim tested here: 1 contradicted"
    scales = [*suite_records(0.7), *suite_records(0.7, seeds=1, size="large")]
    assert plot(scales).heading == "1 claim tested here: 1 supported"
    one = plot(suite_records(0.7, seeds=1))
    assert one.heading == "None of the 1 claims tested here is decided yet"


def test_effects_beyond_the_axis_are_at_its_end_and_say_so() -> None:
    found = Forest((), limit=0.5, missing=0)
    assert found.percent(0.0) == 50
    assert (found.percent(9.0), found.beyond(9.0)) == (found.percent(0.5), 1)
    assert (found.percent(-9.0), found.beyond(-9.0)) == (found.percent(-0.5), -1)
    assert found.beyond(0.5) == 0
    assert plot(suite_records(0.69)).limit == 0.2
    assert plot(suite_records(0.75)).limit == 0.5
