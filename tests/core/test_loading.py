"""What a checkpoint's files say of themselves, and whether it is so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from growloop.core.gguf import tensor_sizes
from growloop.core.loading import (
    checksum_problem,
    files_problem,
    gguf_path,
    load_complete,
    loading_problem,
)

from ..support.damage import write_gguf


def test_a_complete_model_has_no_problem() -> None:
    every = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    assert loading_problem({name: [] for name in every}) is None
    assert loading_problem({}) is None


def test_each_way_of_being_incomplete_is_named() -> None:
    told = loading_problem({"missing_keys": {"b", "a"}})
    assert told == "has not all weights of its config: 2 are missing, the first a"
    told = loading_problem({"unexpected_keys": {"x"}})
    assert told == "has weights that its config does not have: x"
    told = loading_problem({"mismatched_keys": {("w", (3, 2), (4, 2))}})
    assert told == "has weights of other shapes than its config: w, 3×2 instead of 4×2"
    told = loading_problem({"error_msgs": ["cannot read w"]})
    assert told == "has weights that cannot be read: cannot read w"


def index(folder: Path, **places: str) -> Path:
    text = json.dumps({"metadata": {}, "weight_map": places})
    (folder / "model.safetensors.index.json").write_text(text)
    return folder


def test_an_index_names_files_of_its_folder_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(b"1")
    assert files_problem(index(tmp_path, a="model-1.safetensors")) is None
    index(tmp_path, a="model-1.safetensors", b="model-2.safetensors")
    assert files_problem(tmp_path) == (
        "is damaged: model-2.safetensors is missing, which model.safetensors.index.json names"
    )
    index(tmp_path, a="../other/model-1.safetensors")
    assert "which is not a file of the folder" in str(files_problem(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text("{")
    assert files_problem(tmp_path) == ("is damaged: model.safetensors.index.json cannot be read")


def test_checksums_are_read_where_they_are(tmp_path: Path) -> None:
    assert files_problem(tmp_path) is None
    for name in ("model.safetensors", "optimizer-0.safetensors"):
        (tmp_path / name).write_bytes(b"12")
    digest = hashlib.sha256(b"12").hexdigest()
    names = ("model.safetensors", "optimizer-0.safetensors")
    manifest = {"step": 1, "sha256": dict.fromkeys(names, digest)}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert files_problem(tmp_path) is None
    (tmp_path / "optimizer-0.safetensors").unlink()  # a model without its optimizer is whole
    assert files_problem(tmp_path) is None
    assert checksum_problem(tmp_path) == "optimizer-0.safetensors is missing"
    (tmp_path / "model.safetensors").write_bytes(b"13")
    assert files_problem(tmp_path) == (
        "is damaged: model.safetensors does not have its checksum (if it was changed on purpose, "
        "remove manifest.json)"
    )
    (tmp_path / "manifest.json").write_text("{")
    assert files_problem(tmp_path) == "is damaged: manifest.json cannot be read"


@pytest.mark.parametrize("content", ['{"name": "my site"}', "[1]"])
def test_the_manifest_of_another_program_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert files_problem(tmp_path) is None


def test_the_header_of_a_gguf_file_is_read_without_its_weights(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = write_gguf(tmp_path / "m.gguf", extra="rope_freqs.weight")
    found = tensor_sizes(path)
    assert found["blk.1.ffn_up.weight"] == 48 * 32
    assert found["rope_freqs.weight"] == 32
    assert len(found) == 3 + 2 * 9 + 1
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is damaged"):
        tensor_sizes(path)
    path.write_bytes(b"{}")
    with pytest.raises(ValueError, match="is not a GGUF file"):
        tensor_sizes(path)


def test_a_gguf_file_is_the_one_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.gguf").write_text(folder)
    monkeypatch.chdir(tmp_path / "here")
    assert Path(gguf_path(str(tmp_path / "there"), "m.gguf")).read_text() == "there"
    assert gguf_path("someone/model", "m.gguf") == "m.gguf"


def test_options_of_the_caller_cannot_turn_the_check_off() -> None:
    seen = {}

    def from_pretrained(name: str, **options: object) -> tuple[object, dict[str, object]]:
        seen.update(options)
        return object(), {}

    load_complete(from_pretrained, "name", output_loading_info=False, dtype="auto")
    assert seen == {
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
        "dtype": "auto",
    }
