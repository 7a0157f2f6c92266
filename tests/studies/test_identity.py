"""What a record is of: other models, precisions and versions are not taken for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from growloop.models import checkpoints, load, loop
from growloop.studies.catalog import STUDIES
from growloop.studies.paper import depth

from ..support.commands import refused
from .small import FEW, SMALL, TASK, TEXTS, study


def test_other_weights_at_the_same_path_are_not_taken_for_those_that_were_measured(
    models: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models["plain"], path)
    asked = ["contributions", "-m", str(path), *TEXTS, "--out", str(tmp_path / "out")]
    before = study(*asked).stdout
    weights = path / "model.safetensors"
    weights.touch()  # copied again: the same content at another time
    assert study(*asked).stdout == before
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "on another model than" in refused("study", *asked)


def test_another_schedule_at_the_same_path_is_another_model(
    models: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models["looped"], path)
    asked = ["depth", "-m", str(path), *TEXTS, "--parts", "overlap", "--lens-updates", "2"]
    study(*asked, "--out", str(tmp_path / "out"))
    model, tokenizer = loop(load(models["plain"]), "1-2x3-1"), checkpoints.load_tokenizer(str(path))
    checkpoints.save(model, tokenizer, path, overwrite=True)
    assert "on another model than" in refused("study", *asked, "--out", str(tmp_path / "out"))
    # its lens is another one too
    study(*asked, "--out", str(tmp_path / "out"), "--seed", "1")
    assert len(list((tmp_path / "out" / "lenses").glob("*.safetensors"))) == 2


def test_records_of_another_version_of_a_task_are_refused(
    models: dict[str, str], tmp_path: Path
) -> None:
    asked = ["trade-offs", "-m", models["plain"], *FEW, "--tasks", TASK, "--out", str(tmp_path)]
    study(*asked)
    [file] = (tmp_path / "records").rglob("*.json")
    record = json.loads(file.read_text())
    record["rows"][0]["version"] = 0
    record.pop("sha256", None)  # of a record that was changed
    file.write_text(json.dumps(record))
    assert f"is of version 0 of {TASK}, which is" in refused("study", *asked)


def test_numbers_in_two_precisions_are_no_table(models: dict[str, str], tmp_path: Path) -> None:
    asked = ["contributions", "-m", models["plain"], *TEXTS, "--out", str(tmp_path)]
    study(*asked, "--dtype", "bfloat16")
    other = ["inference-scaling", "-m", models["plain"], *SMALL["inference-scaling"]]
    other += ["--out", str(tmp_path)]
    study(*other, "--starts", "0", "--dtype", "bfloat16")
    message = refused("study", *other, "--dtype", "auto")  # the rest in the model's own, float32
    assert "are in bfloat16 and in float32: give --dtype" in message


def test_what_others_have_measured_meanwhile_is_not_measured_again(
    models: dict[str, str], tmp_path: Path
) -> None:
    """As two processes do that share a folder."""
    asked = ["depth", "-m", models["plain"], *FEW, *TEXTS, "--tasks", TASK, "--out", str(tmp_path)]
    measured, inner = [], depth.measure

    def beside(cell: Any, *given: Any) -> Any:
        measured.append(cell.params["part"])
        if cell.params["part"] == "score":  # the other process is faster
            study(*asked, "--cell", "1")
        return inner(cell, *given)

    with STUDIES.replace("depth", replace(depth.STUDY, measure=beside)):
        study(*asked)
    assert measured == ["score", "overlap", "accuracy"]


def test_checkpoints_of_one_run_are_told_apart_by_their_steps(
    models: dict[str, str], tmp_path: Path
) -> None:
    both = []
    for step in ("step-000000020", "step-000000040"):
        shutil.copytree(models["plain"], tmp_path / "run" / step)
        both += ["-m", str(tmp_path / "run" / step)]
    asked = ["weight-similarity", *both, "--apart", "1", "--out", str(tmp_path)]
    shown = study(*asked).stdout
    assert "run@20" in shown
    assert "run@40" in shown
    assert "step-000000020 is given twice" in refused("study", *asked, *both[:2])
