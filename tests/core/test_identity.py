"""Files are known by their content: the same elsewhere, another one at the same path."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from growloop.core.identity import changed_files, identify
from growloop.core.model_files import model_digest, model_files


def test_a_rewritten_file_is_named_even_at_equal_size_and_a_copied_one_is_not(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("aaa")
    two.write_text("bbb")
    recorded = identify({"one": one, "two": two})
    os.utime(one, ns=(1, 1))
    two.write_text("ccc")
    os.utime(two, ns=(2, 2))
    assert changed_files({"one": one, "two": two}, recorded) == ["two"]
    moved = Path(shutil.copy(one, tmp_path / "moved"))
    assert changed_files({"one": moved}, {"one": recorded["one"]}) == []


def test_files_that_are_gone_or_new_have_changed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    recorded = identify({"file": file})
    assert changed_files({"file": tmp_path / "none"}, recorded) == ["file"]
    assert changed_files({"file": file, "more": file}, recorded) == ["more"]
    assert changed_files({}, recorded) == ["file"]


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_model_is_its_weights_config_and_tokenizer(tmp_path: Path, weights: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (weights, "tokenizer.json", "training.json"):
        (folder / name).write_text(name)
    (folder / "config.json").write_text('{"layers": 2, "_name_or_path": "here"}')
    assert {file.name for file in model_files(folder)} == {
        weights, "tokenizer.json", "config.json",
    }  # fmt: skip
    before = model_digest(folder)
    (folder / "config.json").write_text('{"_name_or_path": "there", "layers": 2}')
    (folder / "training.json").write_text("other")
    assert model_digest(folder) == before
    (folder / weights).write_text("other content")
    assert model_digest(folder) != before
