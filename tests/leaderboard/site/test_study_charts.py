"""Charts of studies: every result is in one, a line a model, nothing on it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.leaderboard import Model, Record, Store, Task
from growloop.leaderboard.entries import LeaderboardEntry, build_entries
from growloop.leaderboard.site.looks import model_looks
from growloop.leaderboard.site.page import build
from growloop.leaderboard.site.study_charts import StudyChart, study_charts

from ..making import made

NOTHING_VARIED = {"contributions", "depth", "local-effects", "scan"}  # tables alone
COMMITTED = Path(__file__).parents[3] / "records"
TASK = Task(name="copying", fingerprint="ab", shots=0, chance=0.1)


def studies(records: list[Record]) -> dict[str, list[LeaderboardEntry]]:
    found: dict[str, list[LeaderboardEntry]] = {}
    for entry in build_entries(records):
        if entry.first.study:
            found.setdefault(entry.first.study, []).append(entry)
    return found


def charts_of(entries: list[LeaderboardEntry]) -> list[StudyChart]:
    return study_charts(entries, model_looks(entries))


def drawn(chart: StudyChart) -> int:
    """Number of results in the points of a chart."""
    return sum(point.results for line in chart.lines for point in line.points)


@pytest.mark.parametrize("name", sorted(studies(list(Store(COMMITTED).read()))))
def test_every_result_of_the_records_here_is_drawn_once(name: str) -> None:
    found = studies(list(Store(COMMITTED).read()))[name]
    charts = charts_of(found)
    tasks = {chart.title for chart in charts}
    assert len(tasks) == len(charts)  # no two charts say they are of the same
    assert bool(charts) is (name not in NOTHING_VARIED)
    if charts:
        assert sum(drawn(chart) + chart.elsewhere for chart in charts) == len(found)
    for chart in charts:
        for line in chart.lines:
            places = [point.x for point in line.points]
            assert places == sorted(set(places))
            assert len(places) > 1, (chart.title, line.label)  # a point alone is no line
        looks = {(line.style, line.look.family) for line in chart.lines}
        assert len(looks) == len(chart.lines) == len({line.label for line in chart.lines})


def made_at(model: str, times: int, **fields: object) -> Record:
    conditions = {"times": times, **fields.pop("conditions", {})}  # type: ignore[dict-item]
    return made(0.5, model=model, task=TASK, study="s", conditions=conditions, **fields)


def lines_of(records: list[Record]) -> dict[str, int]:
    """The one chart, with all results in it: label to number of points."""
    [chart] = charts_of(build_entries(records))
    assert drawn(chart) == len(records)
    return {line.label: len(line.points) for line in chart.lines}


def test_a_line_goes_on_over_other_blocks_and_schedules() -> None:
    records = [
        made_at("a", 0, conditions={"block": "none"}),
        made_at("a", 1, schedule="1-2x2-1", conditions={"block": "1:3"}),
        made_at("a", 2, schedule="2x3-2", conditions={"block": "0:2"}),
    ]
    assert lines_of(records) == {"a": 3}
    [chart] = charts_of(build_entries(records))
    words = chart.lines[0].points[2].words
    assert words.splitlines()[1:] == ["block 0:2", "run as 2x3-2"]
    assert words.startswith("0.500 [0.399, 0.601] over 100 items at times 2")


def test_conditions_with_several_values_at_a_number_have_a_chart_each() -> None:
    records = [
        made_at("a", times, schedule=f"{times}x2-{lens}", conditions={"lens": lens, "size": times})
        for times in (1, 2, 3)
        for lens in ("8", "9")
    ]
    charts = charts_of(build_entries(records))
    assert [chart.title.rpartition(" · ")[2] for chart in charts] == ["lens 8", "lens 9"]
    assert [[(line.label, drawn(chart)) for line in chart.lines] for chart in charts] == [
        [("a", 3)],
        [("a", 3)],
    ]


def test_blocks_chosen_for_each_seed_are_one_line_with_a_dot_for_each_seed() -> None:
    records = [
        made(
            (seed + times) / 10,
            model=Model(name="a", seed=seed),
            task=TASK,
            study="s",
            schedule=f"{seed}-2x{times + 1}" if times else None,
            conditions={"times": times, "block": f"{seed}:{seed + 2}", "chosen": True},
        )
        for seed in (1, 2, 3)
        for times in (0, 1)
    ]
    [chart] = charts_of(build_entries(records))
    [line] = chart.lines
    assert [point.results for point in line.points] == [3, 3]
    assert [len(point.dots) for point in line.points] == [3, 3]
    assert {point.over for point in line.points} == {"seeds"}
    assert line.points[1].words.splitlines()[1:] == [
        "each: 0.200, 0.300, 0.400",
        "block 1:3, 2:4, 3:5",
        "chosen True",
        "run as 1-2x2, 2-2x2, 3-2x2",
    ]


def test_two_blocks_of_one_seed_are_never_averaged() -> None:
    records = [
        made_at("a", times, conditions={"block": block}) for times in (0, 1) for block in "xy"
    ]
    charts = charts_of(build_entries(records))
    assert [chart.title.rpartition(" · ")[2] for chart in charts] == ["block x", "block y"]


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        ({"a": (0.2, 0.8)}, "Accuracy rises from 0 to 1 extra passes of the block: 0.200 to 0.800"),
        ({"a": (0.5, 0.51)}, "No clear change of accuracy from 0 to 1 extra passes of the block"),
        (
            {"a": (0.2, 0.8), "b": (0.9, 0.1), "c": (0.5, 0.5)},
            "Accuracy rises for 1, falls for 1 of 3 models from 0 to 1 extra passes of the block",
        ),
    ],
)
def test_a_title_says_what_changes_beyond_the_intervals(
    values: dict[str, tuple[float, float]], finding: str
) -> None:
    records = [
        made(value, model=name, task=TASK, study="s", conditions={"times": times})
        for name, ends in values.items()
        for times, value in enumerate(ends)
    ]
    [chart] = charts_of(build_entries(records))
    assert chart.finding == finding
    assert (chart.x_title, chart.y_title) == (
        "extra passes of the block",
        "accuracy (share right)",
    )


def test_many_models_are_all_drawn() -> None:
    records = [made_at(f"model-{n}", times) for n in range(40) for times in (0, 1)]
    assert len(lines_of(records)) == 40


def test_models_with_one_name_stay_two_lines() -> None:
    models = [Model(name="checkpoint", source=source) for source in ("runs/a", "runs/b")]
    records = [
        made(0.5, model=model, task=TASK, study="s", conditions={"times": times})
        for model in models
        for times in (0, 1)
    ]
    assert lines_of(records) == {"checkpoint [runs/a]": 2, "checkpoint [runs/b]": 2}


def test_different_shots_are_different_charts_unless_they_are_varied() -> None:
    five = TASK.model_copy(update={"shots": 5})
    records = [
        made(0.5, model="a", task=task, study="s", conditions={"times": times})
        for task in (TASK, five)
        for times in (0, 1, 2)
    ]
    charts = charts_of(build_entries(records))
    assert [(drawn(chart), chart.name) for chart in charts] == [(3, "times"), (3, "times")]
    assert {chart.title for chart in charts} == {
        f"copying · {shots} shots · data ab" for shots in (0, 5)
    }


def test_results_without_the_number_are_counted() -> None:
    records = [made_at("a", 1), made_at("a", 2), made(0.5, model="a", task=TASK, study="s")]
    [chart] = charts_of(build_entries(records))
    assert (drawn(chart), chart.elsewhere) == (2, 1)


def test_the_page_says_how_many_are_in_the_table_alone(tmp_path: Path) -> None:
    records = [made_at("a", 1), made_at("a", 2), made(0.5, model="a", task=TASK, study="s")]
    [page] = (build(records, tmp_path / "site").parent / "studies").iterdir()
    assert "1 result of this task without “times”: in the table" in page.read_text()
