"""``growloop quickstart --fast`` as a user runs it: killed, begun again, run once more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.leaderboard import Cost, Growth, Model, Record, Store, Task
from growloop.studies.reproduce.parallel import run_parallel
from growloop.studies.reproduce.quickstart_report import (
    best_model,
    summarize_models,
    summary_sentences,
)
from growloop.studies.reproduce.training_job import TrainingJob, last_step

from ..support.commands import refused, run
from ..support.killed_commands import kept, until

FAST = ["quickstart", "--fast", "--out", "q"]


@pytest.mark.slow
def test_killed_it_goes_on_and_finished_it_does_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    runs = tmp_path / "q" / "runs"
    killed = subprocess.Popen(
        [sys.executable, "-m", "growloop.cli", *FAST], stderr=subprocess.DEVNULL
    )
    until(lambda: any((last_step(folder) or (0,))[0] >= 5 for folder in runs.glob("*")))
    killed.kill()
    killed.wait()
    until(lambda: list(runs.glob("*/step-*/manifest.json")))  # trainings notice, save and end
    result = run(*FAST, "--json")
    assert result.exit_code == 0, result.output
    logs = [path.read_text() for path in runs.glob("*/train.log")]
    assert any("going on after step" in log for log in logs)
    found = json.loads(result.stdout)
    assert [model["kind"] for model in found["models"]] == ["Standard 6", "Loop(3x2)"]
    top = max(found["models"], key=lambda model: model["score"])
    assert found["told"][0].startswith(f"{top['kind']} scores highest")
    store = Store("q/records").scan()
    assert not store.problems
    studies = {record.study for record in store.records}
    assert studies == {None, "inference-scaling", "depth"}
    repeats = [r for r in store.records if r.study == "inference-scaling"]
    assert sorted(int(r.conditions["times"]) for r in repeats) == [0, 1, 2]
    assert {r.model.name for r in repeats} == {top["name"]}
    depth = [r for r in store.records if r.study == "depth"]
    assert {r.task.metric for r in depth} == {"depth_score", "overlap", "acc"}
    assert len(depth) == 2 * 3
    for record in depth:
        assert 0 <= record.value <= 1
    assert {r.model.name for r in store.records} == {
        "quickstart-standard",
        "quickstart-loop-3x2",
    }
    for record in store.records:
        assert record.command == "growloop quickstart --fast --out q --json"
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert "quickstart-loop-3x2" in page
    assert "Loop(4-4x4-4)" in page  # the paper's rows stand beside
    before = kept(tmp_path / "q")
    again = run(*FAST)
    assert again.exit_code == 0, again.output
    assert kept(tmp_path / "q") == before
    for sentence in found["told"]:
        assert sentence in again.stdout
    assert Path(found["page"]).resolve().as_uri() in again.stdout


def test_a_folder_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/thesis.tex").write_text("years of work")
    Path("file").write_text("")
    Path("other").mkdir()
    Path("other/quickstart.json").write_text("{}")
    before = kept(tmp_path)
    assert "own holds something else" in refused("quickstart", "--out", "own")
    assert "cannot use the folder file" in refused("quickstart", "--out", "file")
    assert "of another size or version" in refused("quickstart", "--out", "other")
    assert kept(tmp_path) == before


@pytest.mark.slow
def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    job = TrainingJob("x", {"name": "x", "steps": 3}, tmp_path).subprocess(lambda share, word: None)
    with pytest.raises(InputError, match=r"training of x failed: .*model is missing"):
        run_parallel([job], 1)


def measured(name: str, value: float, parameters: int, **more: Any) -> Record:
    return Record(
        model=Model(name=name, effective_layers=6, unique_layers=6, **more),
        task=Task(name="reasoning_primitives", chance=0.16),
        value=value,
        stderr=0.01,
        n=1000,
        cost=Cost(unique_parameters=parameters),
    )


STANDARD = measured("a", 0.50, 400, family="standard", training_flops=1e12)


def test_words_follow_the_records() -> None:
    step = Growth(operator="lidas", before=4, after=6)
    looped = measured("b", 0.60, 200, family="looped", schedule="3x2", training_flops=1e12)
    grown = measured("c", 0.51, 400, family="grown", growth=(step,), training_flops=7e11)
    lines = summary_sentences([grown, STANDARD, looped], {"a": 350, "b": 1480})
    assert [line.kind for line in summarize_models([grown, STANDARD, looped])] == [
        "Standard 6",
        "Loop(3x2)",
        "LIDAS",
    ]
    assert lines[0].startswith("Loop(3x2) scores highest: 60 %")
    assert "guessing gives 16 %" in lines[0]
    assert "with 50 % of the parameters): 10.0 points better" in lines[1]
    assert "with 70 % of the FLOPs): no clear difference" in lines[2]
    assert "Standard 6 after 350 steps, Loop(3x2) after 1,480 steps, LIDAS not at all" in lines[3]


def test_words_claim_nothing_that_may_be_chance() -> None:
    worse = measured("b", 0.40, 400, family="looped", schedule="3x2", training_flops=1e12)
    guessing = measured("d", 0.17, 400, family="standard", training_flops=1e12)
    assert "10.0 points worse" in summary_sentences([STANDARD, worse])[1]
    assert "not clearly better than guessing" in summary_sentences([guessing])[0]
    assert best_model(summarize_models([STANDARD, worse])).name == "a"


def test_steps_are_read_from_metrics_that_are_being_written(tmp_path: Path) -> None:
    assert last_step(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "loss": 2.5}\n{"step": 10, "lo')
    assert last_step(tmp_path) == (5, 2.5)
    os.truncate(tmp_path / "metrics.jsonl", 3)
    assert last_step(tmp_path) is None
