"""What of a study goes to the leaderboard, and how it is computed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.cli import main
from growloop.leaderboard import Store
from growloop.leaderboard.claims.model_filters import with_repeats
from growloop.leaderboard.claims.verdicts import RecordFilter
from growloop.models import build, grow, loop
from growloop.models.diagnostics.periodicity import block_sizes, expected_period, periodicity
from growloop.studies.leaderboard_rows import mean_of
from growloop.studies.paper.swaps import middle
from growloop.studies.publish import leaderboard_records, missing_reasons
from growloop.studies.records import Row
from hypothesis import given
from hypothesis import strategies as st

from ..support.commands import refused, run
from ..tasks import tiny
from .small import parsed

MODEL = {"name": "m", "family": "standard", "schedule": "8"}


def measured(study: str, rows: list[dict[str, Any]], params: Any = None, **data: Any) -> Any:
    """A record as ``run_study`` writes it."""
    schedules = {row["schedule"] for row in rows if "schedule" in row} | {"8"}
    options = {"tokens": 16, "seed": 0}
    return {
        "format": "growloop study",
        "study": study,
        "cell": {
            "id": "m",
            "model": "m",
            "path": "gone",
            "params": params or {},
            "options": options,
        },
        "model": {
            "architecture": "A",
            "dtype": "float32",
            "schedule": "8",
            "layers": [*range(8)],
            "unique_layers": 8,
            "effective_depth": 8,
            "unique_parameters": 9,
        },
        "leaderboard": {
            "model": MODEL,
            "cost": {schedule: {"unique_parameters": 9} for schedule in schedules},
        },
        "versions": {"torch": "2"},
        "command": "growloop study",
        "time": "2026-11-22T12:00:00+00:00",
        "rows": rows,
        "data": data,
    }


def answered(answers: str, **more: Any) -> dict[str, Any]:
    value = answers.count("1") / len(answers)
    about = {"task": "copying", "metric": "acc", "version": 1, "fingerprint": "ab", "seed": 0}
    about |= {"split": "test", "shots": 0, "chance": 0.1, "n": len(answers), "stderr": 0.1}
    return {**about, "value": value, "low": value, "high": value, "answers": answers, **more}


def test_the_middle_is_half_of_the_steps_and_nothing_swaps_with_itself() -> None:
    assert middle(range(24), 1) == [(start, start + 1) for start in range(6, 17)]
    assert middle(range(24), 2) == [(start, start + 2) for start in range(6, 15)]
    assert middle([0, 1, 2] * 2, 1) == [(1, 2), (2, 3), (3, 4)]
    assert middle([0, 1] * 6, 2) == []
    assert middle(range(4), 2) == []


def test_swaps_are_published_as_their_mean_over_the_middle() -> None:
    plain = answered("1111", first=None, second=None)
    swaps = [answered("0000", first=0, second=1), answered("1100", first=2, second=3)]
    swaps += [answered("1000", first=3, second=4), answered("1110", first=2, second=6)]
    record = measured("swaps", [plain, *swaps], {"size": 1})
    found = {
        record.conditions["swapped"]: record for record in leaderboard_records(parsed([record]))
    }
    assert found[0].value == 1.0
    assert found[1].value == pytest.approx((0.5 + 0.25) / 2)
    # items are right in 2, 1, 0 and 0 of the two swaps
    assert found[1].stderr == pytest.approx(np.std([1, 0.5, 0, 0], ddof=1) / 2)


def repeats(start: int, validation: str, test: str, seed: int = 0) -> Any:
    """A cell of inference-scaling: a block of six of eight steps, run once more."""
    rows = [
        answered(answers, split=split, start=start, times=times, control="none", seed=seed)
        for split, repeated in (("validation", validation), ("test", test))
        for times, answers in ((0, "1000"), (1, repeated))
    ]
    record = measured("inference-scaling", rows, {"task": "copying", "block": 6, "start": start})
    record["cell"]["options"] |= {"seed": seed}
    return record


def test_an_early_choice_of_a_block_is_told_from_that_among_all() -> None:
    some = [repeats(0, "1100", "0000"), repeats(2, "0000", "0000")]
    early = {r.conditions["times"]: r for r in leaderboard_records(parsed(some))}
    assert {r.conditions["chosen"] for r in early.values()} == {"of 2 of 3 starts"}
    assert early[1].conditions["block"] == "0:6"
    assert missing_reasons(parsed(some)) == [
        "inference-scaling has measured 2 of 3 starts of m for copying: claims use its "
        "choice only when all are measured"
    ]
    every = [*some, repeats(1, "1110", "1111")]
    last = {r.conditions["times"]: r for r in leaderboard_records(parsed(every))}
    assert last[1].conditions == {"times": 1, "block": "1:7", "chosen": True}
    assert missing_reasons(parsed(every)) == []
    counted = with_repeats(RecordFilter(family=("standard",)), 1)
    assert [counted.matches(record) for record in (early[1], last[1])] == [False, True]


def test_starts_of_other_weights_or_another_precision_are_no_choice_among_all() -> None:
    for name, value in (("weights", {"sha256": "b"}), ("model", {"dtype": "bfloat16"})):
        every = [repeats(start, "1110", "1111") for start in range(3)]
        other = every[1]
        other[name] = {**other.get(name, {}), **value}
        found = {r.conditions["chosen"] for r in leaderboard_records(parsed(every))}
        assert found == {"of 2 of 3 starts", "of 1 of 3 starts"}


def test_each_draw_of_questions_has_a_choice_of_its_own() -> None:
    cells = [repeats(start, "1111" if start == seed else "0000", "0000", seed)
             for seed in (0, 1) for start in range(3)]  # fmt: skip
    found = [r for r in leaderboard_records(parsed(cells)) if r.conditions["times"] == 1]
    assert {(r.seed, r.conditions["block"]) for r in found} == {(0, "0:6"), (1, "1:7")}


def test_without_answers_an_error_is_the_most_it_can_be() -> None:
    rows = [Row("kl", value, 8, low=low, high=high)
            for value, low, high in ((1.0, 0.9, 1.1), (2.0, 1.7, 2.3))]  # fmt: skip
    found = mean_of(rows)
    assert found["value"] == 1.5
    assert found["stderr"] == pytest.approx(0.2 / 1.959964, rel=1e-5)


def test_a_score_under_the_own_schedule_counts_as_an_evaluation() -> None:
    rows = [answered("1100", schedule="8", block="none", times=0, trained="none")]
    rows += [answered("1110", schedule="2-2x2-4", block="2:4", times=1, trained="none")]
    found = leaderboard_records(parsed([measured("retrofit", rows)]))
    assert [(r.study, r.schedule, r.value) for r in found if r.study is None] == [(None, None, 0.5)]
    assert [r.conditions["times"] for r in found if r.study == "retrofit"] == [0, 1]
    assert leaderboard_records(parsed([measured("trade-offs", rows[:1])]))[0].study is None


def test_orders_of_the_data_in_a_cooldown_are_no_further_trainings() -> None:
    cells = []
    for parent in (3, 4):
        for order, answers in enumerate(("1110", "1100")):
            rows = [answered(answers, mixture="usual", training_seed=parent + order, schedule="8")]
            cell = measured("cooldown", rows, {"mixture": "usual", "seed": order})
            cell["training"] = {"kind": "m", "seed": parent, "recipe": "ab"}
            cell["leaderboard"] |= {"model": MODEL | {"seed": parent + order}}  # of the cooldown
            cells.append(cell)
    found = [(r.model.seed, r.seed, r.value) for r in leaderboard_records(parsed(cells))]
    assert found == [(3, 0, 0.75), (3, 1, 0.5), (4, 0, 0.75), (4, 1, 0.5)]


def test_exits_of_other_kinds_are_other_records() -> None:
    cells = []
    for exits, loops in (("step", 0), ("loop", 0), ("step", 4)):
        rows = [answered("1100", steps=4)]
        cell = measured("adaptive-exit", rows, {"exits": exits}, lens="logit lens")
        cell["cell"]["options"] |= {"loops": loops}
        cells.append(cell)
    found = [record.conditions for record in leaderboard_records(parsed(cells))]
    plain = {"steps": 4, "lens": "logit lens"}
    assert found == [plain, plain | {"exits": "loop"}, plain | {"loops": 4}]


def test_a_study_with_nothing_says_so() -> None:
    record = measured("swaps", [answered("11", first=None), answered("11", first=0, second=1)],
                      {"size": 1})  # fmt: skip
    assert leaderboard_records(parsed([record, measured("new", [])])) == []
    assert missing_reasons(parsed([record, measured("new", [])])) == [
        "swaps has no result of m for the leaderboard: no two blocks of this size are neighbours "
        "in the middle half of its steps",
        "new has no result of m for the leaderboard",
    ]


def test_the_block_is_that_of_the_loop_or_of_the_last_growth() -> None:
    grown = grow(grow(build("tiny", 2), "lidas", block_size=2), "lidas", block_size=2)
    assert expected_period(build("tiny", 6).config) is None
    assert expected_period(grown.config) == 2
    assert expected_period(loop(build("tiny", 6), "1-4x3-1").config) == 4
    assert expected_period(loop(grown, "1-3x2-2").config) == 3


@given(
    st.lists(st.floats(0.1, 10), min_size=4, max_size=4, unique_by=lambda x: round(x, 2)),
    st.floats(0.2, 1.0),
)
def test_what_repeats_every_block_is_periodic_at_it_whatever_its_trend(
    cycle: list[float], fall: float
) -> None:
    ratios = np.array([cycle[step % 4] * fall**step for step in range(16)])
    changes = np.diff(np.log(np.maximum(ratios, 1e-4)))
    if ratios.min() > 1e-4 and changes.std() > 1e-3:
        assert float(periodicity(ratios, 4)) == pytest.approx(1.0)


def test_noise_is_not_periodic_and_too_few_steps_say_nothing() -> None:
    random = np.random.Generator(np.random.Philox(1))
    noise = np.exp(random.normal(size=(200, 24)))
    assert abs(float(periodicity(noise, 4).mean())) < 0.1
    assert math.isnan(periodicity(noise[0, :6], 3))
    assert math.isnan(periodicity(np.ones(12), 4))
    assert list(block_sizes(24)) == list(range(2, 13))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("publish", "publish where? give --leaderboard FOLDER"),
        ("publish --leaderboard r --items 3", "publish takes --out and --leaderboard alone"),
        ("publish --leaderboard r", "there are no records of studies below studies"),
        ("swaps -m M --items 8 --cell 0 --leaderboard r", "--leaderboard needs all cells"),
        ("swaps -m M --items 8 --leaderboard file", "file is a file: a store of records is a"),
    ],
)
def test_what_cannot_be_published_is_said_in_a_sentence(
    arguments: str, message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(tiny.save("llama", tmp_path / "model", layers=4))
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    words = [model if word == "M" else word for word in arguments.split()]
    assert message in refused("study", *words)
    assert sorted(tmp_path.iterdir()) == before


def test_records_of_earlier_versions_are_described_by_their_checkpoint(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.save("llama", tmp_path / "model", layers=4)
    done = run("study", "weight-similarity", "-m", "model", "--apart", "1", "--leaderboard", "new")
    assert done.exit_code == 0, done.output
    assert "1 records added to new, 0 were there already" in done.stderr
    (file,) = (tmp_path / "studies" / "records").rglob("*.json")
    record = json.loads(file.read_text())
    for name in ("leaderboard", "versions", "time", "sha256"):
        record.pop(name)
    file.write_text(json.dumps(record))
    main(["study", "publish", "--leaderboard", "old"], standalone_mode=False)
    (new,), (old,) = Store("new").read(), Store("old").read()
    assert (old.model, old.cost, old.value) == (new.model, new.cost, new.value)
    assert old.time is None
