"""Two evaluations are compared question by question, from the files of lm-eval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from growloop.core.errors import InputError
from growloop.core.significance import paired
from growloop.tasks.compare_results import compare_results, read_evaluation
from scipy import stats

STAMP = "2026-01-01T00-00-00.000000"


def write(
    folder: Path,
    tasks: Mapping[str, Sequence[float]],
    name: str = "m",
    groups: Mapping[str, Sequence[str]] = {},
    first: int = 0,
    reported: Mapping[str, float] = {},
    prompt: str = "p",
    stamp: str = STAMP,
) -> Path:
    """Write an evaluation as lm-eval does; scores of question ``first`` and those after it."""
    folder.mkdir(exist_ok=True, parents=True)
    means = {task: sum(scores) / len(scores) for task, scores in tasks.items()} | dict(reported)
    for group, members in groups.items():
        means.setdefault(group, sum(means[m] for m in members) / len(members))
    results = {
        "results": {task: {"alias": task, "acc,none": mean} for task, mean in means.items()},
        "group_subtasks": dict(groups),
        "n-shot": dict.fromkeys(tasks, 0),
        "model_name": name,
    }
    path = folder / f"results_{stamp}.json"
    path.write_text(json.dumps(results))
    for task, scores in tasks.items():
        lines = [
            {
                "doc_id": i,
                "filter": "none",
                "doc_hash": f"{task}{i}",
                "prompt_hash": prompt,
                "acc": s,
            }
            for i, s in enumerate(scores, first)
        ]
        text = "".join(json.dumps(line) + "\n" for line in reversed(lines))
        (folder / f"samples_{task}_{stamp}.jsonl").write_text(text)
    return path


ONE = [1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1]
OTHER = [0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1]


def test_a_task_is_compared_by_mcnemars_test(tmp_path: Path) -> None:
    write(tmp_path / "a", {"t": ONE}, "A")
    write(tmp_path / "b", {"t": OTHER}, "B")
    comparison = compare_results(tmp_path / "a", tmp_path / "b")
    [row] = comparison.rows
    assert (comparison.first, comparison.second, row.n) == ("A", "B", 12)
    right = paired([bool(x) for x in ONE], [bool(x) for x in OTHER])
    assert (row.difference, row.low, row.high) == pytest.approx(
        (right.difference, right.low, right.high)
    )
    assert row.p == pytest.approx(stats.binomtest(right.better, right.better + right.worse).pvalue)
    assert comparison.notes == ()


def test_a_group_weighs_its_tasks_equally(tmp_path: Path) -> None:
    groups = {"g": ["t", "u"]}
    write(tmp_path / "a", {"t": ONE, "u": [1, 0, 1, 1]}, groups=groups)
    write(tmp_path / "b", {"t": OTHER, "u": [1, 0, 0, 1]}, groups=groups)
    rows = compare_results(tmp_path / "a", tmp_path / "b").rows
    assert [(row.task, row.level) for row in rows] == [("g", 0), ("t", 1), ("u", 1)]
    assert rows[0].difference == pytest.approx((rows[1].difference + rows[2].difference) / 2)
    assert rows[0].low is not None
    assert rows[0].low < rows[0].difference


def test_a_group_that_is_no_mean_of_its_tasks_is_left_out(tmp_path: Path) -> None:
    for name in "ab":
        tasks = {"t": ONE, "u": [1, 0, 1, 1]}
        write(tmp_path / name, tasks, groups={"g": ["t", "u"]}, reported={"g": 0.5})
    assert [row.task for row in compare_results(tmp_path / "a", tmp_path / "b").rows] == ["t", "u"]


def test_only_questions_of_both_count_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a", {"t": ONE})
    write(tmp_path / "b", {"t": OTHER[4:]}, first=4)
    comparison = compare_results(tmp_path / "a", tmp_path / "b")
    [row] = comparison.rows
    assert (row.n, row.first, row.second) == (8, sum(ONE[4:]) / 8, sum(OTHER[4:]) / 8)
    assert comparison.notes == ("t: 8 of 12 questions were answered by both",)


def test_different_prompts_are_said(tmp_path: Path) -> None:
    write(tmp_path / "a", {"t": ONE})
    write(tmp_path / "b", {"t": OTHER}, prompt="q")
    [note] = compare_results(tmp_path / "a", tmp_path / "b").notes
    assert "different prompts" in note


def test_a_metric_that_is_no_mean_over_questions_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", {"t": ONE}, reported={"t": 0.123})
    with pytest.raises(InputError, match="acc,none is not a mean over questions"):
        read_evaluation(tmp_path / "a")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", {"t": ONE}, "A")
    write(tmp_path / "b", {"u": OTHER}, "B")
    write(tmp_path / "c", {"t": OTHER}, "C", first=100)
    with pytest.raises(InputError, match="no task and metric in common"):
        compare_results(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="different questions"):
        compare_results(tmp_path / "a", tmp_path / "c")
    with pytest.raises(InputError, match="several models: A, B, C"):
        read_evaluation(tmp_path)
    with pytest.raises(InputError, match="did you mean 't'"):
        compare_results(tmp_path / "a", tmp_path / "a", ["tt"])
    with pytest.raises(InputError, match="does not exist"):
        read_evaluation(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no result file"):
        read_evaluation(tmp_path / "empty")


def test_files_of_one_model_are_read_together_unless_a_task_is_there_twice(tmp_path: Path) -> None:
    write(tmp_path / "a", {"t": ONE})
    write(tmp_path / "a", {"u": OTHER}, stamp="2026-01-02T00-00-00.000000")
    assert [task for task, _ in read_evaluation(tmp_path / "a").answers] == ["t", "u"]
    write(tmp_path / "a", {"t": OTHER}, stamp="2026-01-03T00-00-00.000000")
    with pytest.raises(InputError, match="holds t twice"):
        read_evaluation(tmp_path / "a")


def test_damaged_samples_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a", {"t": ONE})
    samples = path.with_name(f"samples_t_{STAMP}.jsonl")
    samples.write_text('{"filter": "none"}\n')
    with pytest.raises(InputError, match="line 1: no sample"):
        read_evaluation(path)
    samples.unlink()
    with pytest.raises(InputError, match="t has no samples"):
        read_evaluation(path)
