"""Lines of the leaderboard: repetitions dropped, seeds averaged, nothing mixed."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
from growloop.core.statistics import error_interval, seeds_interval, share_interval
from growloop.leaderboard import Growth, Model, Task
from growloop.leaderboard.entries import build_entries, group_by_task, task_label
from growloop.leaderboard.export import as_csv, as_json
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.schedule_drawing import draw_growth, draw_schedule, steps
from growloop.models import Schedule, cost, growth_map, preset
from hypothesis import given
from hypothesis import strategies as st

from .making import made


def test_of_repetitions_the_one_of_most_items_counts_then_the_newest() -> None:
    found = build_entries(
        [
            made(0.1, n=50, time="2026-01-03T00:00:00Z"),
            made(0.2, n=100, time="2026-01-01T00:00:00Z"),
            made(0.3, n=100, time="2026-01-02T00:00:00Z"),
        ]
    )
    assert [entry.value for entry in found] == [0.3]


def test_a_number_of_items_that_nothing_bears_out_hides_nothing() -> None:
    real = made(0.5, n=1000, stderr=0.0158)
    (entry,) = build_entries([real, made(0.9, n=10**9)])  # without a standard error
    assert (entry.value, entry.n) == (0.5, 1000)


def test_seeds_are_averaged_with_an_interval_over_them() -> None:
    values = [0.4, 0.5, 0.6]
    (entry,) = build_entries(
        made(value, model=Model(name="a", seed=seed)) for seed, value in enumerate(values)
    )
    assert (entry.seeds, entry.value) == (3, pytest.approx(0.5))
    assert entry.interval == pytest.approx(seeds_interval(values))


def test_seeds_of_a_study_are_no_further_trainings() -> None:
    values = {0: (0.4, 0.42, 0.41), 1: (0.6, 0.62, 0.61), 2: (0.5, 0.52, 0.51)}
    (entry,) = build_entries(
        made(value, model=Model(name="a", seed=training), seed=seed)
        for training, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    )
    assert (entry.seeds, entry.value) == (3, pytest.approx(0.51))
    assert entry.interval == pytest.approx(seeds_interval([0.41, 0.61, 0.51]))
    (single,) = build_entries(
        made(v, model=Model(name="a", seed=0), seed=i) for i, v in enumerate(values[0])
    )
    assert (single.seeds, single.interval) == (3, pytest.approx(seeds_interval(values[0])))


def test_seeds_that_do_not_differ_have_the_interval_over_items() -> None:
    (entry,) = build_entries(
        made(1.0, n=100, model=Model(name="a", seed=seed)) for seed in range(3)
    )
    assert (entry.seeds, entry.interval) == (3, share_interval(1.0, 100))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2"},
        {"fingerprint": "other"},
        {"shots": 0},
        {"split": "validation"},
        {"metric": "f1"},
        {"prompting": "fixed shots"},
    ],
)
def test_what_is_not_comparable_is_never_averaged_nor_in_one_table(change: Any) -> None:
    task = Task(name="copying", version="1", fingerprint="ab", shots=5, split="test")
    other = task.model_copy(update=change)
    found = build_entries([made(0.2, task=task, seed=0), made(0.4, task=other, seed=1)])
    assert [entry.seeds for entry in found] == [1, 1]
    assert len(group_by_task(found)) == 2
    assert task_label(task) != task_label(other)


def test_a_line_of_one_seed_has_an_interval_over_items() -> None:
    (plain,) = build_entries([made(0.5, n=100)])
    assert plain.interval == pytest.approx(share_interval(0.5, 100))
    (group,) = build_entries([made(0.5, n=500, stderr=0.01)])  # a mean of tasks: not binomial
    assert group.interval == pytest.approx((0.5 - 1.96 * 0.01, 0.5 + 1.96 * 0.01), abs=5e-4)
    (bounded,) = build_entries([made(0.99, n=500, stderr=0.02)])
    assert bounded.interval is not None
    assert 0.99 < bounded.interval[1] <= 1.0
    (few,) = build_entries([made(2.5, n=16, stderr=0.1, task=Task(name="a", metric="nats"))])
    assert few.interval == error_interval(2.5, 0.1, 16)
    (score,) = build_entries(
        [made(0.99, n=16, stderr=0.1, task=Task(name="a", metric="depth_score"))]
    )
    assert score.interval is not None
    assert score.interval[1] == 1.0
    (alike,) = build_entries([made(2.5, n=16, stderr=0.0, task=Task(name="a", metric="nats"))])
    assert alike.interval is None
    (paper,) = build_entries([made(0.5, n=None, kind="reported")])
    assert paper.interval is None


def test_scores_are_centred_at_chance() -> None:
    (entry,) = build_entries([made(0.55, task=Task(name="a", chance=0.1))])
    assert entry.centred == pytest.approx(0.5)
    (unknown,) = build_entries([made(0.55, task=Task(name="a"))])
    assert unknown.centred is None


def test_the_lines_are_exported_alike_and_formulas_are_texts() -> None:
    found = build_entries([made(0.5, model="=HYPERLINK(0)"), made(0.25, model='a,"b"')])
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    data = json.loads(as_json(found))
    assert [float(row["value"]) for row in rows] == [line["value"] for line in data]
    assert {row["model"] for row in rows} == {"'=HYPERLINK(0)", 'a,"b"'}
    assert as_csv([]).startswith("model")


# -- the paper's rows


def test_the_papers_rows_are_reported_and_complete() -> None:
    rows = paper_rows()
    assert {row.kind for row in rows} == {"reported"}
    table_three = [row for row in rows if row.source == "arXiv:2602.16490, Table 3"]
    models = {(row.model.name, row.model.size) for row in table_three}
    assert len(models) == 17
    assert len(table_three) == 17 * 7
    assert len({(row.model.name, row.model.size, row.model.recipe) for row in rows}) == 17 + 14
    assert all(row.task.version == "paper" for row in rows)


@pytest.mark.parametrize(
    ("name", "size", "recipe", "task", "value"),
    [
        ("LIDAS", "1.7B", None, "reasoning_primitives", 0.4802),
        ("Loop(4-4x4-4)", "1.7B", None, "held_out", 2.05),
        ("Standard 8", "360M", None, "lambada", 0.3237),
        ("LIDAS", "1.7B", "cooldown NMT 20%, layers 12-15 once more", "gsm8k", 0.1547),
        ("MIDAS", "360M", "cooldown FMT 20%", "math_word_problems", 0.1468),
    ],
)
def test_the_papers_numbers(
    name: str, size: str, recipe: str | None, task: str, value: float
) -> None:
    found = [
        row.value
        for row in paper_rows()
        if (row.model.name, row.model.size, row.model.recipe, row.task.name)
        == (name, size, recipe, task)
    ]
    assert found == [value]


def test_the_papers_models_cost_what_their_schedules_say() -> None:
    presets = {"360M": "smollm-360m", "1.7B": "smollm-1.7b"}
    for row in {(r.model.size, r.model.schedule): r for r in paper_rows()}.values():
        found = cost(preset(presets[row.model.size or ""]), row.model.schedule)
        assert row.cost.unique_parameters == found.unique_parameters
        assert row.cost.inference_flops == found.forward_flops
        assert row.model.effective_layers == found.schedule.effective_depth


@pytest.mark.parametrize(("schedule", "run"), [(None, 4), ("1-2x3-1", 8), ("1-2x999-1", None)])
def test_the_layers_that_ran_are_those_of_the_schedule(
    schedule: str | None, run: int | None
) -> None:
    model = Model(name="a", schedule="4", unique_layers=4, effective_layers=4)
    (entry,) = build_entries([made(model=model, schedule=schedule)])
    assert entry.layers_run == run
    [told] = json.loads(as_json([entry]))
    assert (told["schedule"], told["effective_layers"]) == (schedule or "4", run)


# -- drawings


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6)
    .map(lambda parts: "-".join(f"{size}x{times}" for size, times in parts))
    .map(Schedule.parse)
    | st.lists(st.integers(0, 30), min_size=1, max_size=40).map(lambda x: Schedule(tuple(x)))
)
def test_drawings_read_every_schedule_as_the_models_do(schedule: Schedule) -> None:
    assert steps(str(schedule)) == schedule.layers
    drawing = draw_schedule(str(schedule))
    assert drawing is not None
    assert [(box.layer, box.loop) for box in drawing.boxes] == list(schedule.coordinates)


@pytest.mark.parametrize("text", ["", "x", "4x", "9999x9999", "9" * 9000, "1,,2", "4--4", "٣"])
def test_what_is_no_schedule_is_not_drawn(text: str) -> None:
    drawing = draw_schedule(text)
    assert drawing is None or drawing.columns < 1000


def test_growth_is_drawn_with_the_copies_marked() -> None:
    (row,) = [
        row
        for row in paper_rows()
        if row.model.name == "LIDAS" and row.model.size == "1.7B" and row.task.name == "held_out"
    ]
    drawing = draw_growth(row.model.growth)
    assert drawing is not None
    assert (drawing.columns, drawing.rows) == (6, 24)
    second = [box for box in drawing.boxes if box.column == 1]
    assert [box.loop for box in second] == [0] * 4 + [1] * 4
    last = growth_map("lidas", 20, block_size=4)
    assert steps(row.model.growth[-1].sources or "") == tuple(last.sources)
    assert not math.isnan(drawing.columns)


def test_growth_that_nobody_can_see_is_not_drawn() -> None:
    least = Growth(operator="lidas", before=4, after=8)
    for size in ({"before": 10**18}, {"after": 10**18}):
        assert draw_growth([least.model_copy(update=size), least]) is None
