"""``growloop quickstart --fast`` as a user runs it: killed, begun again, run once more."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from growloop.cli import main
from growloop.cli import quickstart as cli_quickstart
from growloop.core.errors import InputError
from growloop.leaderboard import Cost, Growth, Model, Record, Store, Task
from growloop.leaderboard.site.introduction import Introduction
from growloop.studies.reproduce.parallel import run_parallel
from growloop.studies.reproduce.quickstart import QuickStart
from growloop.studies.reproduce.quickstart_report import (
    best_model,
    describe_runs,
    findings,
    next_commands,
    summarize_models,
)
from growloop.studies.reproduce.training_job import TrainingJob, last_step
from growloop.tasks.compare_results import TaskDifference

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
    assert [model["kind"] for model in found["models"]] == list(NAMES)
    assert "for 24 steps each (seed 0)" in found["done"]
    assert [word for word in ("Looping", "Control", "Growing")
            if any(line.startswith(word) for line in found["findings"])] == [
        "Looping", "Control", "Growing",
    ]  # fmt: skip
    top = max(found["models"], key=lambda model: model["score"])
    store = Store("q/records").scan()
    assert not store.problems
    studies = {record.study for record in store.records}
    assert studies == {None, "inference-scaling", "depth"}
    repeats = [r for r in store.records if r.study == "inference-scaling"]
    assert sorted(int(r.conditions["times"]) for r in repeats) == [0, 1, 2]
    assert {r.model.name for r in repeats} == {top["name"]}
    depth = [r for r in store.records if r.study == "depth"]
    assert {r.task.metric for r in depth} == {"depth_score", "overlap", "acc"}
    assert len(depth) == 4 * 3
    for record in depth:
        assert 0 <= record.value <= 1
    assert {r.model.name for r in store.records} == {
        "quickstart-standard",
        "quickstart-standard-3",
        "quickstart-loop-3x2",
        "quickstart-lidas",
    }
    [two] = [command for command in found["commands"] if "compare" in command["line"]]
    compared = run(*shlex.split(two["line"].replace("\\\n", ""))[1:], "--json")
    assert json.loads(compared.stdout)["rows"][0]["n"] == top["n"]
    for record in store.records:
        assert record.command == "growloop quickstart --fast --out q --json"
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert "quickstart-loop-3x2" in page
    assert "Loop(4-4x4-4)" in page  # the paper's rows stand beside
    assert page.index("What it means") < page.index("measured here")
    before = kept(tmp_path / "q")
    again = run(*FAST)
    assert again.exit_code == 0, again.output
    assert kept(tmp_path / "q") == before
    printed = " ".join(again.stdout.split())
    for sentence in (found["done"], *found["findings"]):
        assert sentence in printed
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
    assert "with another size, seed or version" in refused("quickstart", "--out", "other")
    assert kept(tmp_path) == before


@pytest.mark.slow
def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    job = TrainingJob("x", {"name": "x", "steps": 3}, tmp_path).subprocess(lambda share, word: None)
    with pytest.raises(InputError, match=r"training of x failed: .*model is missing"):
        run_parallel([job], 1)


def measured(name: str, value: float, parameters: int = 400, **more: Any) -> Record:
    layers = {"effective_layers": 6, "unique_layers": 6} | more
    return Record(
        model=Model(name=name, **layers),
        task=Task(name="reasoning_primitives", chance=0.16),
        value=value,
        stderr=0.01,
        n=1000,
        cost=Cost(unique_parameters=parameters),
    )


STANDARD = measured("standard", 0.50, family="standard", training_flops=1e12)
CONTROL = measured("control", 0.42, 200, family="standard", unique_layers=3, effective_layers=3)
LOOPED = measured(
    "looped", 0.51, 200, family="looped", schedule="3x2", unique_layers=3, training_flops=1e12
)
GROWN = measured(
    "grown", 0.47, family="grown", training_flops=8e11,
    growth=(Growth(operator="lidas", before=4, after=6),),
)  # fmt: skip
NAMES = {"Standard 6": "standard", "Standard 3": "control", "Loop(3x2)": "looped", "LIDAS": "grown"}


def compared(half: float | None = 0.02) -> Any:
    """A comparison of fixed records, each interval as wide on both sides."""
    values = {r.model.name: r.value for r in (STANDARD, CONTROL, LOOPED, GROWN)}

    def compare(first: str, second: str) -> TaskDifference:
        one, other = values[first], values[second]
        low = None if half is None else one - other - half
        high = None if half is None else one - other + half
        return TaskDifference(
            "reasoning_primitives", 0, "acc,none", 1000, one, other, low, high, 0.5
        )

    return compare


def test_findings_follow_the_comparisons() -> None:
    summaries = summarize_models([GROWN, CONTROL, LOOPED, STANDARD])
    assert {s.kind: s.name for s in summaries} == NAMES
    assert [s.kind for s in summaries] == list(NAMES)
    assert best_model(summaries).name == "looped"
    looping, control, growing, _ = findings(summaries, compared())
    assert looping == (
        "Looping: with 50 % of the parameters of Standard 6, Loop(3x2) answers 51 % right and "
        "Standard 6 answers 50 %: no clear difference (95 % interval -1.0 to +3.0 points)."
    )
    assert control.startswith("Control: Standard 3 has as many layers as Loop(3x2), run once")
    assert control.endswith("9.0 points better (95 % interval +7.0 to +11.0 points).")
    assert growing == (
        "Growing: with 80 % of the training FLOPs of Standard 6, LIDAS answers 47 % right and "
        "Standard 6 answers 50 %: 3.0 points worse (95 % interval -5.0 to -1.0 points)."
    )


def test_findings_claim_nothing_that_may_be_chance() -> None:
    summaries = summarize_models([GROWN, CONTROL, LOOPED, STANDARD])
    wide = findings(summaries, compared(0.2))
    assert sum("no clear difference" in line for line in wide) == 2
    assert "Loop(3x2) is not clearly different" in wide[1]
    assert wide[1].endswith("so this run does not show that the loop is needed.")
    assert not any("better" in line or "worse" in line for line in wide)
    assert "+1.0 points, without an interval" in findings(summaries, compared(None))[0]


def test_findings_begin_with_what_voids_them() -> None:
    guessing = [
        measured("standard", 0.17, family="standard", training_flops=1e12),
        measured("grown", 0.15, family="grown", growth=GROWN.model.growth, training_flops=8e11),
    ]
    first, second, *_ = findings(summarize_models(guessing), compared(), {"grown": None})
    assert first.startswith("No model is clearly better than guessing: the best, Standard 6")
    assert "without any lesson like the questions: LIDAS." in second


def test_findings_say_when_the_first_lesson_was_learned_and_what_the_loop_changed() -> None:
    summaries = summarize_models([GROWN, CONTROL, LOOPED, STANDARD])
    steps: dict[str, int | None] = {"standard": 376, "control": 1545, "looped": 441, "grown": None}
    never, *_, learning, caveat = findings(summaries, compared(), steps)
    assert "without any lesson like the questions: LIDAS." in never
    assert learning == (
        "Learning: the first lesson (random repeats) was learned by Standard 6 at step 376, "
        "Standard 3 at step 1,545, Loop(3x2) at step 441. With the loop the same number of layers "
        "learned it 1,104 steps sooner."
    )
    assert "say nothing about other seeds" in caveat
    later = findings(summaries, compared(), steps | {"looped": 1600})[-2]
    assert later.endswith("learned it 55 steps later.")
    alone = findings(summaries, compared(), {"looped": 441})[-2]
    assert alone == (
        "Learning: the first lesson (random repeats) was learned by Loop(3x2) at step 441."
    )
    nobody = findings(summaries, compared(), dict.fromkeys(steps))
    assert not any(line.startswith("Learning") for line in nobody)


def test_what_was_done_names_models_steps_seed_and_chance() -> None:
    text = describe_runs(summarize_models([STANDARD, LOOPED]), 1500, 3)
    assert text.startswith(
        "Two small models were trained on generated lessons for 1,500 steps each"
    )
    assert "(seed 3) and answered 1,000 questions" in text
    assert text.endswith("guessing gives 16 %.")


def test_next_commands_are_commands() -> None:
    folders = [Path("a b/results/one"), Path("a b/results/other")]
    found = next_commands(Path("a b"), 0, True, folders, Path("a b/runs/one/step-1"))
    assert len(found) == 3
    for command in found:
        program, name, *arguments = shlex.split(command.line.replace("\\\n", ""))
        assert program == "growloop"
        parser = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
        parser.make_context(name, arguments)  # an unknown or malformed option raises
    lines = [line for command in found for line in command.line.splitlines()]
    assert max(map(len, lines)) <= 78
    again = next_commands(Path("q-seed-1"), 1, False, folders, Path("x"))[0]
    assert again.line == "growloop quickstart --seed 2 --out q-seed-2"


def test_seeds_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the seed must be a whole number" in refused("quickstart", "--seed", "-1")
    assert not list(tmp_path.iterdir())


def test_runs_differ_in_their_seed_alone(tmp_path: Path) -> None:
    one, other = (QuickStart(tmp_path, seed=seed).run_fields("lidas") for seed in (0, 1))
    assert one["growth"]["steps"] < one["steps"] - one["optimizer"]["cooldown"]
    assert other == one | {"seed": 1}


def test_results_are_printed_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    summaries = summarize_models([GROWN, CONTROL, LOOPED, STANDARD])
    folders = [Path("quickstart/results/quickstart-lidas")] * 2
    introduction = Introduction(
        describe_runs(summaries, 1500, 0),
        findings(summaries, compared()),
        next_commands(Path("quickstart"), 0, False, folders, Path("quickstart/runs/x/step-1")),
    )
    cli_quickstart._print_introduction(introduction)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    plain = " ".join(text.split())
    for sentence in (introduction.done, *introduction.findings):
        assert sentence in plain
    for command in introduction.commands:
        assert command.line.splitlines()[0] in text


def test_steps_are_read_from_metrics_that_are_being_written(tmp_path: Path) -> None:
    assert last_step(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "loss": 2.5}\n{"step": 10, "lo')
    assert last_step(tmp_path) == (5, 2.5)
    os.truncate(tmp_path / "metrics.jsonl", 3)
    assert last_step(tmp_path) is None
