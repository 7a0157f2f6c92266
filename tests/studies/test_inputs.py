"""What was measured or trained is known by content: moved files are the same, others refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.models import build
from growloop.models.training import runfile
from growloop.models.training.engine import Engine
from growloop.studies.cells import StudyCell
from growloop.studies.checkpoints import StudyModel
from growloop.studies.measure.cooldown_branches import (
    CooldownVariant,
    ParentCheckpoint,
    check_data,
    cooldown_run,
)
from growloop.studies.paper.sample_efficiency import _written
from growloop.studies.reproduce.cell_results import CellResults
from growloop.studies.reproduce.evaluate import score_checkpoint, score_with_samples
from growloop.studies.reproduce.plan import PlanCell
from growloop.studies.reproduce.scales import ScaleModel
from growloop.studies.reproduce.settings import ReproductionSettings
from growloop.studies.reproduce.training_job import TrainingJob
from growloop.tasks.compare_results import compare_results

from ..support.changed_inputs import changed, fields, made_by_an_earlier_version, remade, sharded
from ..support.commands import refused, run
from .small import TASK, TEXTS, study

SETTINGS = ReproductionSettings("laptop", "r", 1, True, "cpu", "data")


def another_model(folder: Path) -> None:
    build("tiny", 4, seed=9, vocab_size=257).save_pretrained(folder)


def test_a_model_that_was_moved_is_the_one_that_was_measured(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shutil.copytree(models["plain"], tmp_path / "a" / "plain")
    given = ["contributions", *TEXTS, "--out", str(tmp_path / "out")]
    study(*given, "-m", str(place))
    [file] = (tmp_path / "out" / "records").rglob("*.json")
    before = file.stat().st_mtime_ns
    shutil.move(tmp_path / "a", tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    study(*given, "-m", "plain")
    study(*given, "-m", "./plain")
    assert file.stat().st_mtime_ns == before
    weights = tmp_path / "b" / "plain" / "model.safetensors"
    changed(weights)
    assert "was measured on another model than plain holds now" in refused(
        "study", *given, "-m", "plain"
    )


def test_word_lists_and_files_of_tasks_count_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, copy = tmp_path / "words.txt", tmp_path / "elsewhere" / "words.txt"
    words.write_text("one\ntwo\n")
    copy.parent.mkdir()
    shutil.copy(words, copy)

    def name(file: str) -> str:
        task = f"copying:words={file}:segment_length=2"
        of_params = StudyCell("swaps", "m", "m", {"task": task}, {"items": 8}).id.rpartition("-")[2]
        of_options = StudyCell("swaps", "m", "m", {}, {"tasks": [task], "items": 8}).id
        return of_params + of_options

    first = name("words.txt")
    assert name("elsewhere/words.txt") == name(str(words)) == first
    words.write_text("one\nsix\n")
    assert name("words.txt") != first


def test_examples_of_a_fine_tuning_that_were_changed_are_not_taken_for_its_own(
    tmp_path: Path,
) -> None:
    rows = [{"prompt": "a=1 a?", "target": "1"}]
    path = tmp_path / "folder" / "train.jsonl"
    assert _written(path, rows) == _written(path, rows) == str(path)
    changed(path)
    with pytest.raises(InputError, match=r"train\.jsonl does not hold the examples"):
        _written(path, rows)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return sharded(tmp_path / "shards")


@pytest.fixture
def cooling(shards: Path, tmp_path: Path) -> ParentCheckpoint:
    run = fields(shards, steps=6, optimizer={"warmup": 1, "cooldown": 2}, events=[])
    return ParentCheckpoint.read(
        StudyModel.read(str(Engine(runfile.parse(run), tmp_path / "p").train(4).folder))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: remade(s / "a"), r"a/index\.json \(data\.sources\.a\) changed since .*step-00"),
        (lambda s: changed(s / "b" / "shard-00000.bin"), r"shard-00000\.bin is not what its index"),
    ],
)
def test_a_cooldown_does_not_go_on_with_other_shards_than_its_parent(
    shards: Path, cooling: ParentCheckpoint, change: Any, message: str
) -> None:
    more = CooldownVariant(
        "more", {"a": 0.5, "c": 0.5}, {"c": str(shards / "v")}
    )  # a source of its own
    check_data(cooling, cooldown_run(cooling, more))
    change(shards)
    with pytest.raises(InputError, match=message):
        check_data(cooling, cooldown_run(cooling, more))


def test_a_parent_of_an_earlier_version_cools_down(shards: Path, cooling: ParentCheckpoint) -> None:
    made_by_an_earlier_version(cooling.folder)
    remade(shards / "a")
    check_data(cooling, cooldown_run(cooling, CooldownVariant("usual")))


def test_a_training_is_done_with_the_shards_it_read(shards: Path, tmp_path: Path) -> None:
    run = fields(shards)
    training = TrainingJob("tiny", run, tmp_path / "out")
    Engine(runfile.parse(run), training.folder).train()
    assert training.done
    kept = shutil.move(shards / "a", tmp_path / "kept")
    assert training.done  # shards that were removed after it
    shutil.copytree(kept, shards / "a")
    remade(shards / "a")
    with pytest.raises(InputError, match=r"a/index\.json \(data\.sources\.a\) changed"):
        assert training.done


def test_a_cell_is_of_the_model_and_the_data_that_it_measured(tmp_path: Path) -> None:
    model, data = tmp_path / "model", tmp_path / "data.jsonl"
    another_model(model)
    data.write_text("{}\n")
    results, cell = CellResults(tmp_path / "cells"), PlanCell(0, "score", "lidas", 0)
    model_row = ScaleModel("lidas", "lessons-lidas", "lidas")
    results.write(cell, model_row, [], SETTINGS, 1.0, model, {"data.jsonl": data})
    os.utime(data, ns=(1, 1))
    results.check(cell.id, model, {"data.jsonl": data})
    results.check(cell.id, tmp_path / "gone", {})
    data.write_text("[]\n")
    with pytest.raises(InputError, match=r"data\.jsonl changed since .*0\.json was measured"):
        results.check(cell.id, model, {"data.jsonl": data})
    changed(model / "model.safetensors")
    with pytest.raises(InputError, match=r"0\.json was measured on another model than"):
        results.check(cell.id, model, {})
    path = results.path(cell.id)
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("weights", "data")}
    path.write_text(json.dumps(old))
    results.check(cell.id, model, {"data.jsonl": data})


def test_results_are_of_the_model_that_was_scored(models: dict[str, str], tmp_path: Path) -> None:
    place = shutil.copytree(models["plain"], tmp_path / "plain")
    given: dict[str, Any] = {"shots": 0, "limit": 2, "device": "cpu", "command": "c"}
    file = tmp_path / "results" / "plain.json"
    found = score_checkpoint(place, [TASK], file, **given)
    assert [r.to_json() for r in score_checkpoint(place, [TASK], file, **given)] == [
        r.to_json() for r in found
    ]
    changed(place / "model.safetensors")
    with pytest.raises(InputError, match=r"plain\.json was measured on another model than"):
        score_checkpoint(place, [TASK], file, **given)


def test_results_with_samples_can_be_compared_and_are_of_their_model(
    models: dict[str, str], tmp_path: Path
) -> None:
    given: dict[str, Any] = {"shots": 0, "limit": 2, "device": "cpu", "command": "c"}
    folders = [tmp_path / "results" / name for name in ("one", "other")]
    place = shutil.copytree(models["plain"], tmp_path / "plain")
    for folder in folders:
        found = score_with_samples(place, [TASK], folder, **given)
        assert [r.value for r in found if r.task.name == TASK]
    comparison = compare_results(*folders)
    assert [(row.task, row.n, row.difference) for row in comparison.rows] == [(TASK, 2, 0.0)]
    assert {r.command for r in found} == {"c"}
    again = score_with_samples(place, [TASK], folders[1], **given)
    assert [r.to_json() for r in again] == [r.to_json() for r in found]
    changed(place / "model.safetensors")
    with pytest.raises(InputError, match=r"was measured on another model than"):
        score_with_samples(place, [TASK], folders[0], **given)
    shutil.rmtree(folders[0])
    folders[0].mkdir()
    with pytest.raises(InputError, match=r"one holds 0 result files"):
        score_with_samples(place, [TASK], folders[0], **given)


def test_a_plan_refuses_what_its_reproduction_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, message in (("r", "r holds something else"), ("file/r", "file is a file")):
        given = ["reproduce", "laptop", "--fast", "--device", "cpu", "--out", out]
        assert message in refused(*given, "--plan")
        assert "cannot use" in (found := refused(*given, "--only", "train/*")) or message in found
    assert not (tmp_path / "r" / "reproduce.json").exists()


def test_fine_tuning_is_refused_before_its_slow_part(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"a={i} a?", "target": f"{i}"} for i in range(9)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}')
    given = ["sft", "-m", models["plain"], "--data", "rows.jsonl", "--min-steps", "1"]
    given += ["--epochs", "1", "--precision", "fp32"]
    assert "cannot write to rows.jsonl" in refused(*given, "--out", "rows.jsonl")
    assert "row 1: prompt and target" in refused(*given, "--out", "o", "--validation", "bad.jsonl")
    assert "has 8 tokens" in refused(*given, "--out", "o", "--seq-len", "7")
    assert "more than the model's" in refused(*given, "--out", "o", "--seq-len", "99999")
    assert not (tmp_path / "o").exists()
    assert run(*given, "--out", "o", "--seeds", "2").exit_code == 0
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows[::-1])))
    found = refused(*given, "--out", "o", "--seeds", "2")
    assert "rows.jsonl (data.examples) changed since o/seed-0/step-" in found
