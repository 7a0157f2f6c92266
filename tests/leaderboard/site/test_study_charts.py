"""Charts of studies: every result is in one, a line a model, nothing on it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.leaderboard import Model, Record, Store, Task
from growloop.leaderboard.entries import LeaderboardEntry, build_entries
from growloop.leaderboard.site.page import build
from growloop.leaderboard.site.study_charts import StudyChart, study_charts

from ..making import made

NOTHING_VARIED = {"contributions", "depth", "local-effects"}  # tables alone
COMMITTED = Path(__file__).parents[3] / "records"
TASK = Task(name="copying", fingerprint="ab", shots=0, chance=0.1)


def studies(records: list[Record]) -> dict[str, list[LeaderboardEntry]]:
    found: dict[str, list[LeaderboardEntry]] = {}
    for entry in build_entries(records):
        if entry.first.study:
            found.setdefault(entry.first.study, []).append(entry)
    return found


def drawn(chart: StudyChart) -> int:
    return sum(len(line.points) for line in chart.lines)


@pytest.mark.parametrize("name", sorted(studies(list(Store(COMMITTED).read()))))
def test_every_result_of_the_records_here_is_drawn_once(name: str) -> None:
    found = studies(list(Store(COMMITTED).read()))[name]
    charts = study_charts(found)
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
        assert len({(line.style, line.shape) for line in chart.lines}) == len(chart.lines)


def made_at(model: str, times: int, **fields: object) -> Record:
    conditions = {"times": times, **fields.pop("conditions", {})}  # type: ignore[dict-item]
    return made(0.5, model=model, task=TASK, study="s", conditions=conditions, **fields)


def lines_of(records: list[Record]) -> dict[str, int]:
    """The one chart, with all results in it: label to number of points."""
    [chart] = study_charts(build_entries(records))
    assert drawn(chart) == len(records)
    return {line.label: len(line.points) for line in chart.lines}


def test_a_line_goes_on_over_other_blocks_and_schedules() -> None:
    records = [
        made_at("a", 0, conditions={"block": "none"}),
        made_at("a", 1, schedule="1-2x2-1", conditions={"block": "1:3"}),
        made_at("a", 2, schedule="2x3-2", conditions={"block": "0:2"}),
    ]
    assert lines_of(records) == {"a": 3}
    [chart] = study_charts(build_entries(records))
    words = chart.lines[0].points[2].words
    assert words.splitlines()[1:] == ["block 0:2", "run as 2x3-2"]
    assert words.startswith("0.500 [0.399, 0.601] over 100 items at times 2")


def test_lines_are_split_only_where_a_number_would_stand_twice() -> None:
    records = [
        made_at("a", times, schedule=f"{times}x2-{lens}", conditions={"lens": lens, "size": times})
        for times in (1, 2, 3)
        for lens in ("8", "9")
    ]
    assert lines_of(records) == {"a, lens 8": 3, "a, lens 9": 3}


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
    charts = study_charts(build_entries(records))
    assert [(drawn(chart), chart.name) for chart in charts] == [(3, "times"), (3, "times")]
    assert {chart.title for chart in charts} == {
        f"copying · {shots} shots · data ab" for shots in (0, 5)
    }


def test_results_without_the_number_are_counted() -> None:
    records = [made_at("a", 1), made_at("a", 2), made(0.5, model="a", task=TASK, study="s")]
    [chart] = study_charts(build_entries(records))
    assert (drawn(chart), chart.elsewhere) == (2, 1)


def test_the_page_says_how_many_are_in_the_table_alone(tmp_path: Path) -> None:
    records = [made_at("a", 1), made_at("a", 2), made(0.5, model="a", task=TASK, study="s")]
    [page] = (build(records, tmp_path / "site").parent / "studies").iterdir()
    assert "1 result of this task without “times”: in the table" in page.read_text()
