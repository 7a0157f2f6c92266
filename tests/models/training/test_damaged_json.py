"""Damaged JSON of shards, jobs, checkpoints and metrics is one sentence, or is passed over."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from growloop.core.errors import InputError
from growloop.core.strict_json import FileError
from growloop.models.training import checkpoint_contents as contents
from growloop.models.training import checkpoints as snapshots
from growloop.models.training import dtypes
from growloop.models.training.data.shards import Shards, finished_shard, write_index, write_shard
from growloop.models.training.metrics import Metrics
from safetensors.torch import save_file

from ...support.damaged_json import cuts, mutations


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    found = [write_shard(folder, number, [[1, 2, 3], [4]], 300) for number in range(2)]
    about = {"vocabulary": 300, "tokenizer": "0f", "special_tokens": [1], "source": "text"}
    write_index(folder, found, about)
    return folder


def test_a_damaged_index_is_refused_or_changes_nothing_that_is_read(shards: Path) -> None:
    path = shards / "index.json"
    fields = json.loads(path.read_text())
    right = Shards(shards).window(0, 8).tolist()
    for place, text in mutations(fields):
        path.write_text(text)
        try:
            found = Shards(shards)
        except InputError as error:
            assert str(shards) in str(error), place  # noqa: PT017
            assert len(str(error)) < len(str(path)) + 300  # noqa: PT017
        else:
            assert found.window(0, 8).tolist()[: len(right)] == right or place[0] == "shards"
    for text in cuts(json.dumps(fields)):
        path.write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            Shards(shards)


@pytest.mark.parametrize("name", ["../shards/shard-00000", "/etc/passwd", "..", "a/b", ""])
def test_the_name_of_a_shard_leads_to_no_other_folder(shards: Path, name: str) -> None:
    path = shards / "index.json"
    fields = json.loads(path.read_text())
    fields["shards"][0]["name"] = name
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match="its name "):
        Shards(shards)


def test_a_damaged_description_makes_a_shard_unfinished(shards: Path) -> None:
    path = shards / "shard-00000.json"
    fields = json.loads(path.read_text())
    for _, text in [*mutations(fields), *((None, text) for text in cuts(json.dumps(fields)))]:
        path.write_text(text)
        found = finished_shard(shards, 0)
        assert found is None or found.sha256 == fields["sha256"]


def test_a_damaged_manifest_makes_a_checkpoint_damaged(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "training.json").write_text("{}")
        (folder / "weights.bin").write_bytes(b"abc")

    folder = snapshots.write(tmp_path, 7, fill, keep=2)
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    assert snapshots.problem(folder) is None
    for place, text in mutations(fields):
        path.write_text(text)
        told = snapshots.problem(folder)
        dropped = (
            place == ("sha256", "weights.bin") and "weights.bin" not in json.loads(text)["sha256"]
        )
        assert told is not None or dropped or place == ("milestone",), place
    for text in cuts(json.dumps(fields)):
        path.write_text(text)
        assert snapshots.problem(folder) == "manifest.json cannot be read"
    path.write_text(json.dumps(fields | {"sha256": fields["sha256"] | {"../x": "0"}}))
    assert "not a file of the folder" in str(snapshots.problem(folder))


def test_the_state_of_a_checkpoint_names_the_field_that_is_damaged(tmp_path: Path) -> None:
    state = {"step": 3, "tokens": 9, "flops": 1.5, "full_depth": 4, "run": {}, "source": {},
             "optimizers": [], "random": "", "best": {}, "inputs": {}}  # fmt: skip
    path = tmp_path / "training.json"
    path.write_text(json.dumps(state))
    assert contents.read_state(tmp_path) == state
    for name in ("step", "tokens", "flops", "full_depth", "run", "optimizers", "random"):
        path.write_text(json.dumps({k: v for k, v in state.items() if k != name}))
        with pytest.raises(FileError, match=f"training.json is damaged: {name} is missing"):
            contents.read_state(tmp_path)
    path.write_text(json.dumps(state | {"flops": math.nan}))
    with pytest.raises(FileError, match="flops is nan"):
        contents.read_state(tmp_path)


def test_lines_of_metrics_that_cannot_be_read_are_dropped_and_the_rest_stays(
    tmp_path: Path,
) -> None:
    good = '{"step": 1, "loss": 2.0}'
    lines = [good, "[]", "{}", '{"step": "x"}', '{"step": true}', "[" * 5000, '{"step": 2', "1"]
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    Metrics(tmp_path, 5, True, 1.0, torch.device("cpu"))
    assert path.read_text() == good + "\n"


def test_a_finished_run_keeps_checkpoints_whose_manifest_is_damaged(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "training.json").write_text("{}")
        (folder / "optimizers").mkdir()
        (folder / "optimizers" / "0.safetensors").write_bytes(b"abc")

    for step in (1, 2, 3):
        snapshots.write(tmp_path, step, fill, keep=3, milestone=True)
    for text in ("[" * 50_000, '{"sha256": {}, "sha256": {}}', "", '{"step": 2}'):
        (tmp_path / "step-000000002" / "manifest.json").write_text(text)
        snapshots.finish(tmp_path, 3, "optimizers")
    kept = [path.parent.name for path in sorted(tmp_path.glob("*/optimizers"))]
    assert kept == ["step-000000002"]
    assert snapshots.problem(tmp_path / "step-000000003") is None


def test_a_damaged_header_of_weights_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, dtype=torch.bfloat16), "b": torch.zeros(2)}, file)
    assert dtypes.stored_dtype(str(tmp_path)) is torch.bfloat16
    content = file.read_bytes()
    for damaged in (b"", content[:5], content[:30], content[:8] + b"[" * 300, b"\xff" * 300):
        file.write_bytes(damaged)
        with pytest.raises(FileError, match=r"model.safetensors is damaged: "):
            dtypes.stored_dtype(str(tmp_path))


@pytest.mark.parametrize("name", ["load", "int8", 7, [], "float64"])
def test_the_dtype_of_a_checkpoint_is_one_of_checkpoints(name: object) -> None:
    with pytest.raises(InputError, match=r"the checkpoint's dtype is .*: training.json is damaged"):
        dtypes.named(name)
    assert dtypes.named("bfloat16") is torch.bfloat16
