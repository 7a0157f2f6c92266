"""The sample-efficiency study, on models small enough to fine-tune in a test."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.significance import mcnemar, sign_flip
from growloop.models import Recurrence, build, checkpoints, load, loop
from growloop.models.training.data.symbols import END, symbol_tokenizer, vocabulary
from growloop.primitives import make_task
from growloop.studies.cells import StudyCell
from growloop.studies.checkpoints import StudyModel, read_models
from growloop.studies.compare import compare_models
from growloop.studies.paper import sample_efficiency
from growloop.studies.paper.sample_efficiency import Options, plan
from growloop.studies.paper.sample_efficiency_table import fine_tuning_results, table
from growloop.studies.publish import leaderboard_records
from growloop.studies.records import ModelFacts, Row, StudyRecord
from growloop.studies.runner import run_study
from transformers import PreTrainedTokenizerFast

from ...support.commands import refused, run

OPTIONS = Options(
    sizes=(0, 16), seeds=2, depths=(0, 2), items=20, held_out=8, epochs=1, min_steps=4,
    batch_size=8, seq_len=256, lr=1e-3, precision="fp32",
)  # fmt: skip
STUDY = sample_efficiency.STUDY
FEW = ["--items", "20", "--min-steps", "3", "--epochs", "1", "--seq-len", "256"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=symbol_tokenizer(), eos_token=END, pad_token=END
    )
    for name in ("plain", "looped"):
        model = build("tiny", vocab_size=len(vocabulary()))
        if name == "looped":
            loop(model, "1-1x3-1")
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("plain", "looped")}


def measured(paths: list[str], options: Options, out: Path, **more: Any) -> list[StudyRecord]:
    return run_study(STUDY, plan(read_models(paths), options), options, out, **more)


def test_examples_are_of_equal_depths_and_no_split_shares_an_item() -> None:
    train = OPTIONS.examples("train", 64, 0)
    held_out = OPTIONS.examples("validation", 64, 0)
    assert [row["prompt"].count(" = ") for row in train] == [10, 15] * 32
    for depth in (1, 2):
        prompts = [row["prompt"] for row in train if row["prompt"].count(" = ") == 5 * depth + 5]
        others = [r["prompt"] for r in held_out if r["prompt"].count(" = ") == 5 * depth + 5]
        task = make_task("variable_assignment", {"style": "code", "depth": depth})
        assert set(task.splits_of(prompts)) == {"train"}
        assert set(task.splits_of(others)) == {"validation"}
    assert OPTIONS.examples("train", 32, 0) == train[:32]  # smaller sets are parts of larger ones
    assert OPTIONS.examples("train", 32, 1) != train[:32]


def test_a_cell_is_a_model_a_size_a_seed_and_its_ties(models: dict[str, str]) -> None:
    both = replace(OPTIONS, ties=("tied", "untied"))
    found = [
        (cell.model, *cell.params.values()) for cell in plan(read_models([*models.values()]), both)
    ]
    assert found == [
        ("plain", 0, 0, "tied"), ("plain", 16, 0, "tied"), ("plain", 16, 1, "tied"),
        ("looped", 0, 0, "tied"), ("looped", 16, 0, "tied"), ("looped", 16, 1, "tied"),
        ("looped", 16, 0, "untied"), ("looped", 16, 1, "untied"),
    ]  # fmt: skip
    tried = [replace(OPTIONS, lr=lr, rows=rows) for lr, rows in ((1e-3, 1), (1e-4, 2))]
    ids = [[cell.id for cell in plan([StudyModel.read(models["plain"])], each)] for each in tried]
    assert ids[0][0] == ids[1][0]  # the model as it is is scored once for all settings
    assert not {*ids[0][1:]} & {*ids[1][1:]}


def test_a_killed_fine_tuning_goes_on_and_leaves_only_its_record(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(OPTIONS, sizes=(16,), seeds=1)
    told: list[str] = []

    def die(text: str) -> None:
        if text.startswith("step 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured([models["plain"]], one, tmp_path, say=die)
    assert not (tmp_path / "records").exists()
    [record] = measured([models["plain"]], one, tmp_path, say=told.append)
    assert any(text.startswith("going on after step") for text in told)
    assert [(row["depth"], row.n, row.chance) for row in record.rows] == [
        (0, 20, 0.2),
        (2, 20, 0.2),
    ]
    assert not list((tmp_path / "fine-tunings").iterdir())
    told.clear()
    assert measured([models["plain"]], one, tmp_path, say=told.append) == [record]
    assert not told


@pytest.mark.slow
def test_a_killed_fine_tuning_does_not_go_on_from_another_model(
    models: dict[str, str], tmp_path: Path
) -> None:
    """The model at the path was another one when it was killed."""
    one, path = replace(OPTIONS, sizes=(16,), seeds=1), tmp_path / "model"
    shutil.copytree(models["looped"], path)

    def die(text: str) -> None:
        if text.startswith("step 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured([str(path)], one, tmp_path / "a", say=die)
    shutil.rmtree(path)
    shutil.copytree(models["plain"], path)
    told: list[str] = []
    [record] = measured([str(path)], one, tmp_path / "a", say=told.append)
    assert not any(text.startswith("going on") for text in told)
    [fresh] = measured([str(path)], one, tmp_path / "b")
    assert record.rows == fresh.rows


def test_what_is_kept_is_not_trained_again_for_other_questions(
    models: dict[str, str], tmp_path: Path
) -> None:
    one = replace(OPTIONS, sizes=(16,), seeds=1, keep=True)
    [record] = measured([models["looped"]], one, tmp_path)
    told: list[str] = []
    more = replace(one, items=30, depths=(1,))
    [again] = measured([models["looped"]], more, tmp_path, say=told.append)
    assert Path(record.data["checkpoint"], "config.json").is_file()
    assert again.data["checkpoint"] == record.data["checkpoint"]
    assert not [text for text in told if text.startswith("step")]
    assert again.rows[0].n == 30
    measured([models["looped"]], replace(more, keep=False, items=25), tmp_path)
    assert Path(record.data["checkpoint"], "config.json").is_file()


@pytest.mark.slow
def test_the_table_compares_with_no_examples(models: dict[str, str], tmp_path: Path) -> None:
    records = measured([*models.values()], replace(OPTIONS, ties=("tied", "untied")), tmp_path)
    rows = table(records)
    assert [(r["model"], r["ties"], r["examples"], r["depth"], r["seeds"]) for r in rows] == [
        (model, ties, size, depth, 2 if size else 1)
        for model, ties, sizes in (
            ("plain", "tied", (0, 16)), ("looped", "tied", (0, 16)), ("looped", "untied", (16,)),
        )
        for size in sizes
        for depth in (0, 2)
    ]  # fmt: skip
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    found = {
        (line.model, line.ties, line.examples, line.depth): line
        for line in fine_tuning_results(records)
    }
    looped = found["looped", "untied", 16, 2]
    none = found["looped", "tied", 0, 2]
    assert looped.gain is not None
    assert looped.gain.values == pytest.approx([value - none.mean for value in looped.values])
    assert looped.untied is not None
    tied = found["looped", "tied", 16, 2]
    assert looped.untied.mean == pytest.approx(looped.mean - tied.mean)
    assert sum(row["gain"] != "" for row in rows) == 6
    assert sum(row["untied less tied"] != "" for row in rows) == 2
    assert all((row["gain"] == "") == (row["p gain (Holm of 8)"] is None) for row in rows)
    drawn = json.dumps(STUDY.chart(records).to_dict())
    assert "variable assignment, depth 2" in drawn


@pytest.mark.slow
def test_the_gain_on_questions_without_an_answer_stands_beside(
    models: dict[str, str], tmp_path: Path
) -> None:
    one = replace(OPTIONS, seeds=1, control="cut", items=40)
    records = measured([models["plain"]], one, tmp_path)
    cut = [[row for row in record.rows if "of" in row] for record in records]
    assert [row["depth"] for row in cut[0]] == [0, 2]
    rows = table(records)
    after = [row.value - before.value for row, before in zip(cut[1], cut[0], strict=True)]
    assert [row["control gain"] for row in rows] == [None, None, *map(pytest.approx, after)]
    assert {row["n"] for row in rows} == {40}
    assert len(leaderboard_records(records)) == len(rows)
    assert (
        "control gain"
        not in table(measured([models["plain"]], replace(one, control="none"), tmp_path / "o"))[0]
    )


def test_the_interval_over_seeds_is_student_s() -> None:
    def record(seed: int, right: int) -> StudyRecord:
        own = {"ties": "tied", "examples": 8, "depth": 1, "tuning_seed": seed}
        answers = "1" * right + "0" * (10 - right)
        row = Row("acc", right / 10, 10, answers=answers, chance=0.2, columns=own)
        cell, facts = StudyCell("s", "m", "m", {}, {}), ModelFacts("A", "2", [0, 1], 2, 2, 9, "f")
        return StudyRecord(cell, "m", facts, (row,), {}, "")

    [line] = fine_tuning_results([record(seed, right) for seed, right in enumerate((5, 6, 7))])
    assert (line.mean, len(line.values)) == (pytest.approx(0.6), 3)
    assert line.low == pytest.approx(0.352, abs=1e-3)  # t with 2 degrees of freedom: 4.303


def test_the_sign_flip_test_counts_all_signs() -> None:
    for differences in ([3, -1, 2, 0, 1], [1, 1, 1, -1], [2, 2, 2, 2], [0], [5, -5]):
        signs = itertools.product((-1, 1), repeat=len(differences))
        sums = [abs(sum(s * d for s, d in zip(sign, differences, strict=True))) for sign in signs]
        wanted = sum(total >= abs(sum(differences)) for total in sums) / len(sums)
        assert sign_flip(differences) == pytest.approx(wanted)
    for better, worse in ((10, 3), (4, 4), (300, 211)):
        given = [1] * better + [-1] * worse + [0] * 7
        assert math.isclose(sign_flip(given), mcnemar(better, worse), rel_tol=1e-9)


@pytest.mark.slow
def test_records_tell_what_was_tuned_how_apart(models: dict[str, str], tmp_path: Path) -> None:
    """An untied model is no tied one, whatever looped it; with other settings it is another."""
    retrofit = Path(shutil.copytree(models["looped"], tmp_path / "retrofit"))
    events = [{"step": 5, "mixture": {"text": 0.8, "nemotron": 0.2}, "repeat": [1, 2], "times": 2}]
    training = {"name": "r", "seed": 0, "steps": 6, "data": {"mixture": {"text": 1.0}}}
    training |= {"model": {"preset": "tiny"}, "events": events}
    (retrofit / "training.json").write_text(json.dumps({"run": training}))
    one = replace(OPTIONS, sizes=(16,), seeds=1, depths=(1,), min_steps=2)

    def record(path: str, **changes: Any) -> Any:
        [found] = leaderboard_records(measured([path], replace(one, **changes), tmp_path))
        return found

    tied, untied = (record(str(retrofit), ties=(ties,)) for ties in ("tied", "untied"))
    assert (tied.model.family, tied.model.recipe) == ("retrofitted", "cooldown NMT 20%")
    assert (untied.model.family, untied.model.recipe) == ("untied", "cooldown NMT 20%, untied")
    assert tied.cost.inference_flops
    assert untied.cost.inference_flops is None
    assert (tied.study, tied.task.name) == ("sample-efficiency", "variable_assignment_code_d1")
    assert (tied.n, tied.seed, tied.task.version) == (20, 0, "1")
    assert tied.conditions["examples"] == 16
    assert tied.conditions["train_depths"] == "1,2"
    assert record(models["looped"], ties=("untied",)).model.recipe == "untied"
    changes: tuple[dict[str, Any], ...] = ({}, {"min_steps": 60, "patience": 1}, {"batch_size": 16})
    cells = [record(models["plain"], **told).cell for told in (*changes, {"rows": 2})]
    assert len(set(cells)) == 3  # with more rows a pass it is a repetition


def test_a_schedule_is_that_of_all_sizes(models: dict[str, str], tmp_path: Path) -> None:
    looped = replace(OPTIONS, seeds=1, schedule="1-2x2-1")
    rows = [row for r in measured([models["plain"]], looped, tmp_path) for row in r.rows]
    assert {row.schedule for row in rows} == {"1-2x2-1"}
    records = leaderboard_records(measured([models["plain"]], looped, tmp_path))
    assert {record.schedule for record in records} == {"1-2x2-1"}
    assert {record.conditions["train_depths"] for record in records} == {"1,2"}


@pytest.mark.slow
def test_the_untied_model_is_compared_with_others(models: dict[str, str], tmp_path: Path) -> None:
    both = replace(OPTIONS, seeds=1, ties=("tied", "untied"))
    records = measured([*models.values()], both, tmp_path)
    rows = compare_models(STUDY, records, "plain")
    assert [(row["model"], row["examples"]) for row in rows] == [
        ("looped", 0), ("looped", 0), ("looped", 16), ("looped, untied", 16),
        ("looped", 16), ("looped, untied", 16),
    ]  # fmt: skip
    own = compare_models(STUDY, [r for r in records if r.model_name == "looped"], "looped")
    assert {row["model"] for row in own} == {"looped, untied"}


def test_a_model_that_computes_more_is_not_untied(models: dict[str, str], tmp_path: Path) -> None:
    model = loop(load(models["plain"]), "1-1x3-1", recurrence=Recurrence("add"))
    checkpoints.save(model, None, tmp_path / "injected")
    with pytest.raises(InputError, match="injection between its loops"):
        plan([StudyModel.read(str(tmp_path / "injected"))], replace(OPTIONS, ties=("untied",)))


def test_several_processes_are_refused(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="a study runs in one process"):
        measured([models["plain"]], OPTIONS, tmp_path)


@pytest.mark.slow
def test_the_command_measures_all_cells(models: dict[str, str], tmp_path: Path) -> None:
    arguments = ["study", "sample-efficiency", "-m", models["plain"], "-m", models["looped"]]
    arguments += ["--sizes", "0,16", "--seeds", "2", "--depths", "0,1", *FEW]
    arguments += ["--out", str(tmp_path / "out"), "--picture", str(tmp_path / "chart.svg")]
    found = run(*arguments, "--leaderboard", str(tmp_path / "records"))
    assert found.exit_code == 0, found.output
    assert "12 records added" in found.stderr
    assert "p gain (Holm of 4)" in found.stdout
    assert (tmp_path / "chart.svg").stat().st_size > 1000
    assert len(list((tmp_path / "out" / "records" / "sample-efficiency").iterdir())) == 6


@pytest.mark.slow
def test_fine_tuning_on_a_file_gives_a_checkpoint_a_seed(
    models: dict[str, str], tmp_path: Path
) -> None:
    rows = OPTIONS.examples("train", 16, 0)
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["sft", "-m", models["looped"], "--data", str(file), "--validation", str(file)]
    arguments += ["--seeds", "2", "--min-steps", "3", "--epochs", "1", "--seq-len", "256"]
    arguments += ["--untie", "--lora", "2", "--precision", "fp32", "--out", str(tmp_path / "out")]
    folders = run(*arguments).stdout.split()
    assert [Path(folder).parent.name for folder in folders] == ["seed-0", "seed-1"]
    config = json.loads((Path(folders[0]) / "config.json").read_text())
    assert config["num_hidden_layers"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (3,)}, "size 3 does not divide"),
        ({"seeds": 0}, "seeds"),
        ({"items": 10**9}, "items"),
        ({"items": 3}, "at least 8 items"),
        ({"depths": (10**7,)}, "depth"),
        ({"shots": -1}, "shots"),
        ({"shots": 10**6}, "shots"),
        ({"ties": ("tide",)}, "tide"),
        ({"ties": ("untied",)}, "does not loop, so nothing can be untied"),
        ({"precision": "bf17"}, "bf17"),
        ({"control": "cute"}, "did you mean 'cut'"),
        ({"lr": 0.0}, "between 0 and 1"),
        ({"epochs": 0}, "epochs"),
        ({"patience": 0}, "patience"),
        ({"lora": -1}, "lora"),
        ({"schedule": "9"}, "9"),
        ({"schedule": "x"}, "x"),
        ({"schedule": "1-1x2-1", "ties": ("tied", "untied")}, "does not go with --ties untied"),
        ({"sizes": ()}, "sizes needs at least one value"),
        ({"train_depths": ()}, "train_depths needs at least one value"),
    ],
)
def test_bad_options_are_refused(
    models: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as stopped:
        plan([StudyModel.read(models["plain"])], replace(OPTIONS, **changes))
    assert isinstance(stopped.value, InputError) or getattr(stopped.value, "is_for_the_user", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "sample-efficiency", "--sizes", "1,b"], "not a valid integer"),
        (["sft", "--data", "nowhere.jsonl", "--out", "o"], "no file or folder"),
        (["sft", "--data", "nowhere.jsonl", "--out", "o", "--seeds", "0"], "seeds"),
        (["sft", "--out", "o"], "--data"),
    ],
)
def test_bad_commands_are_refused(
    models: dict[str, str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refused(*arguments, "-m", models["plain"])
