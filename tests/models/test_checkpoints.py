"""Checkpoints on disk: whole or not at all, looped or plain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import (
    EarlyExit,
    RandomLoops,
    Recurrence,
    Schedule,
    build,
    layer_similarity,
    loop,
)
from growloop.models.checkpoints import check_out, load, load_config, load_tokenizer, save

from ..support.damage import LOST, changed, sharded, with_tensor, write_gguf

TOKENS = torch.arange(12)[None]


@pytest.fixture
def looped(tmp_path: Path) -> Path:
    return save(build("tiny", "1-2x3-1", initializer_range=0.2), None, tmp_path / "looped")


def edit(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def test_config_json_keeps_unique_layers_and_depth_apart(looped: Path) -> None:
    config = json.loads((looped / "config.json").read_text())
    assert config["model_type"] == "growloop"
    assert config["base_model_type"] == "llama"
    assert config["schedule"] == "1-2x3-1"
    assert config["num_unique_layers"] == 4
    assert config["effective_depth"] == 8


def test_weights_on_disk_are_those_of_the_unique_layers(looped: Path) -> None:
    from safetensors import safe_open

    with safe_open(looped / "model.safetensors", "pt") as weights:
        layers = {name.split(".")[2] for name in weights.keys() if ".layers." in name}  # noqa: SIM118
    assert layers == {"0", "1", "2", "3"}


@pytest.mark.slow
def test_a_new_process_loads_it_after_importing_growloop_models(looped: Path) -> None:
    code = (
        "import growloop.models, sys; from transformers import AutoModelForCausalLM;"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1]);"
        "print(type(model).__name__, model.schedule, model.config.num_hidden_layers)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(looped)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["LlamaForCausalLM", "1-2x3-1", "8"]


def test_a_recurrence_and_its_weights_come_back(tmp_path: Path) -> None:
    model = build("tiny", "1-2x3-1", initializer_range=0.2)
    recurrence = Recurrence(
        injection="concat",
        backward_loops=2,
        random_loops=RandomLoops(3.0, seed=4),
        kv_sharing=2,
        damping=0.5,
        early_exit=EarlyExit("gate", 0.7),
    )
    loop(model, recurrence=recurrence)
    with torch.no_grad():
        for parameter in model.runner.parameters():
            parameter.normal_(std=0.2)
    again = load(str(save(model.eval(), None, tmp_path / "m")))
    assert again.recurrence == recurrence
    assert torch.equal(again(TOKENS).logits, model(TOKENS).logits)
    assert {name for name, _ in again.named_parameters() if "runner" in name} == {
        "runner.adapter.weight",
        "runner.gate.weight",
        "runner.gate.bias",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "1-2x"}, "character 5"),
        ({"schedule": None}, "needs a schedule"),
        ({"schedule": "9"}, "needs 9 layers, the model has 4"),
        ({"base_model_type": "lama"}, "does not know the base_model_type 'lama'"),
        ({"base_model_type": "vit"}, "not a causal language model"),
        ({"recurrence": {"dampin": 1}}, "recurrence in the config cannot be read"),
        ({"recurrence": {"damping": 7}}, "damping is above 0"),
    ],
)
def test_a_damaged_config_is_one_sentence(
    looped: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as found:
        load(str(edit(looped, **changes)))
    assert "\n" not in str(found.value)


def test_damaged_and_foreign_checkpoints_are_one_sentence(looped: Path, tmp_path: Path) -> None:
    weights = looped / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot load model"):
        load(str(looped))
    (tmp_path / "config.json").write_text("{}")
    for function in (load, load_config):
        with pytest.raises(InputError, match="cannot"):
            function(str(tmp_path))
    assert load_tokenizer(str(tmp_path)) is None


def test_nothing_is_overwritten_unasked_and_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: Any
) -> None:
    model = build("tiny", 2)
    folder = save(model, None, tmp_path / "m")
    with pytest.raises(InputError, match="is not empty"):
        save(model, None, folder)
    save(build("tiny", 3), None, folder, overwrite=True)
    assert load_config(str(folder)).num_hidden_layers == 3

    def fails(self: Any, path: Path) -> None:
        (path / "config.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(type(model), "save_pretrained", fails)
    with pytest.raises(OSError, match="disk full"):
        save(model, None, folder, overwrite=True)
    assert load_config(str(folder)).num_hidden_layers == 3
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_that_is_no_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="holds more than a checkpoint"):
        check_out(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        check_out(tmp_path / "thesis.tex")


def test_similarity_shows_copies() -> None:
    from growloop.models import block_similarity, grow

    model = grow(build("tiny", 4), "lidas")
    found = layer_similarity(model)
    assert found.shape == (8, 8)
    assert torch.equal(found, found.T)
    assert block_similarity(found, 4) == pytest.approx(1)
    assert abs(block_similarity(found, 3)) < 0.05
    assert Schedule.plain(8).needs == len(found)


def test_missing_and_left_over_weights_are_refused(tmp_path: Path) -> None:
    folder = save(build("tiny", 4), None, tmp_path / "m")
    for depth, message in ((6, "18 are missing"), (2, "does not have: 18")):
        with pytest.raises(InputError, match=message):
            load(str(edit(folder, num_hidden_layers=depth)))
    assert len(load(str(edit(folder, num_hidden_layers=4))).model.layers) == 4


@pytest.mark.parametrize("lost", LOST)
def test_what_is_not_all_there_is_refused(tmp_path: Path, lost: str) -> None:
    change, message = LOST[lost]
    for model in (build("tiny", 3), build("tiny", "1-1x2-1")):
        folder = save(model, None, tmp_path / f"whole-{len(model.model.layers)}")
        with pytest.raises(InputError) as caught:
            load(str(changed(folder, folder.with_suffix(".changed"), change)))
        assert message in str(caught.value)


def test_tied_heads_and_old_buffers_are_no_damage(tmp_path: Path) -> None:
    folder = save(build("tiny", 3, tie_word_embeddings=True), None, tmp_path / "tied")
    wanted = load(str(folder))(TOKENS).logits
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    old = changed(folder, tmp_path / "old", with_tensor(buffer))
    assert torch.equal(load(str(old))(TOKENS).logits, wanted)


def test_shards_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = sharded(save(build("tiny", 3), None, tmp_path / "m"), tmp_path / "shards")
    load(str(folder))
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00001-of-00002\.safetensors is missing, which"):
        load(str(folder))


def test_a_gguf_file_is_all_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    write_gguf(tmp_path / "m.gguf")
    wanted = load(str(tmp_path), gguf_file="m.gguf").model.norm.weight
    (tmp_path / "here").mkdir()
    write_gguf(tmp_path / "here" / "m.gguf", seed=1)
    monkeypatch.chdir(tmp_path / "here")  # a file of that name here is not the one meant
    assert torch.equal(load(str(tmp_path), gguf_file="m.gguf").model.norm.weight, wanted)
    write_gguf(tmp_path / "m.gguf", without="output_norm.weight")
    with pytest.raises(InputError, match=r"1 is missing, model\.norm\.weight"):
        load(str(tmp_path), gguf_file="m.gguf")
    write_gguf(tmp_path / "m.gguf", extra="blk.2.ffn_norm.weight")
    with pytest.raises(InputError, match="32 numbers are left over"):
        load(str(tmp_path), gguf_file="m.gguf")


def test_a_checkpoint_of_a_run_that_changed_on_the_disk_is_refused(tmp_path: Path) -> None:
    from growloop.models.training import checkpoints as snapshots

    folder = snapshots.write(tmp_path, 3, lambda part: build("tiny", 2).save_pretrained(part), 1)
    load(str(folder))
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + b"\0")
    assert snapshots.problem(folder) == "model.safetensors does not have its checksum"
    with pytest.raises(InputError, match=r"model\.safetensors does not have its checksum"):
        load(str(folder))


def test_the_similarity_of_weights_that_are_no_numbers_is_refused() -> None:
    model = build("tiny", 3)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"mlp\.up_proj\.weight of layer 1 holds NaN"):
        layer_similarity(model)


def test_a_checkpoint_among_other_files_is_not_overwritten(tmp_path: Path) -> None:
    folder = save(build("tiny", 2), None, tmp_path / "m")
    (folder / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"more than a checkpoint \(thesis\.tex\)"):
        save(build("tiny", 2), None, folder, overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years"


def test_the_config_of_something_else_is_one_sentence() -> None:
    from growloop.models.checkpoints import empty
    from transformers import T5Config, ViTConfig

    for config in (T5Config(), ViTConfig()):
        with pytest.raises(InputError, match="not a causal language model"):
            empty(config)
