"""Tiny random checkpoints of published looped models, with the authors' own code.

``GROWLOOP_HUGINN`` and ``GROWLOOP_OURO`` name checkouts of seal-rg/recurrent-pretraining and
LoopedLMs/ouro_rl (which holds the code of ByteDance/Ouro-1.4B). HRM-Text is in transformers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models.looping.initial_state import initial_states
from growloop.models.looping.native import START_SEED
from torch import Tensor

from ..tasks import tiny

KINDS = ("hrm_text", "ouro", "huginn")
VOCABULARY = 257
HRM = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "head_dim": 8, "num_attention_heads": 4, "H_cycles": 2, "L_cycles": 3,
    "max_position_embeddings": 2048,
}  # fmt: skip
OURO = {
    "model_type": "ouro", "architectures": ["OuroForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_ouro.OuroConfig",
                 "AutoModelForCausalLM": "modeling_ouro.OuroForCausalLM"},
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 2048,
    "total_ut_steps": 3, "early_exit_threshold": 1.0, "initializer_range": 0.2,
}  # fmt: skip
HUGINN = {
    "model_type": "huginn_raven", "architectures": ["RavenForCausalLM"],
    "auto_map": {"AutoConfig": "raven_config_minimal.RavenConfig",
                 "AutoModelForCausalLM": "raven_modeling_minimal.RavenForCausalLM"},
    "vocab_size": VOCABULARY, "n_embd": 32, "n_heads": 4, "n_layers": 4, "block_size": 2048,
    "intermediate_size": 48, "n_layers_in_prelude": 1, "n_layers_in_recurrent_block": 2,
    "n_layers_in_coda": 1, "mean_recurrence": 3, "tie_embeddings": True, "torch_dtype": "float32",
}  # fmt: skip
CODE = {
    "ouro": ("GROWLOOP_OURO", "ouro_rl/modeling", OURO),
    "huginn": ("GROWLOOP_HUGINN", "recpre", HUGINN),
}
FIELDS = {"hrm_text": "H_cycles", "ouro": "total_ut_steps", "huginn": "mean_recurrence"}
"""Kind -> field of the config with the number of loops."""


def own_module_cache(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let transformers import remote code from an empty folder of its own."""
    patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(cache))
    patch.syspath_prepend(str(cache))
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        patch.delitem(sys.modules, name)


def published(kind: str, folder: Path) -> Path:
    """Write a checkpoint as its authors publish it: config, weights, code, and a tokenizer.

    Skips where the checkout is not at hand.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if kind in CODE and not os.environ.get(CODE[kind][0]):
        pytest.skip(f"{CODE[kind][0]} names no checkout")
    tiny.save("llama", folder)  # for its tokenizer
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    if kind == "hrm_text":
        transformers = pytest.importorskip("transformers")
        if not hasattr(transformers, "HrmTextConfig"):
            pytest.skip("transformers has no HRM-Text")
        (folder / "config.json").unlink()
        model = transformers.HrmTextForCausalLM(transformers.HrmTextConfig(**HRM))
    else:
        from growloop.core.published_code import understand

        variable, place, fields = CODE[kind]
        for file in fields["auto_map"].values():  # type: ignore[attr-defined]
            name = file.split(".")[0] + ".py"
            shutil.copy(Path(os.environ[variable]) / place / name, folder / name)
        (folder / "config.json").write_text(json.dumps(fields))
        understand(str(folder), trust_remote_code=True)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.dim() > 1:
                parameter.normal_(std=0.15)
            elif parameter.requires_grad:  # norms: not all 1
                parameter.add_(torch.rand_like(parameter) * (0 if "bias" in name else 0.3))
    model.save_pretrained(folder)
    if kind in CODE:
        (folder / "config.json").write_text(json.dumps(fields))
    return folder


def start_of(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """The initial state that our Huginn gets, for the authors' forward."""
    if model.config.model_type != "huginn_raven":
        return {}
    width = model.config.n_embd
    states = initial_states(torch.arange(ids.shape[1]), width, START_SEED)
    scale = model.config.init_values["std"] * model.emb_scale
    return {"input_states": (states * scale).expand(len(ids), -1, -1)}


def original(folder: Path, **settings: int) -> Any:
    """The authors' model of a checkpoint by transformers alone, with other settings."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    for name, value in settings.items():
        setattr(config, name, value)
    if config.model_type == "hrm_text":  # the slots of its cache
        config.num_hidden_layers = (
            config.num_layers_per_stack * config.H_cycles * (config.L_cycles + 1)
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, trust_remote_code=True, dtype=torch.float32
    )
    return model.eval()
