"""Low-rank adapters (LoRA), injected in place by PEFT, so that the model keeps its class."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...core.errors import InputError
from ..looping.decoder import find_decoder
from .runfile_sections import Lora

ADAPTER = "default"  # PEFT's name of the adapter
MARK = "lora_"  # part of the name of every adapter weight
PEFT_PREFIX = "base_model.model."  # prefix of weight names in PEFT's files
WEIGHTS = "adapter_model.safetensors"
BASE = ".base_layer"


def attach(model: PreTrainedModel, settings: Lora, seed: int) -> None:
    """Freeze a model and add randomly initialized adapters to the linear maps of its layers.

    Example::

        attach(model, Lora(rank=8), seed=0)

    Args:
        seed: seed of the initial adapter weights.

    Raises:
        InputError: PEFT is not installed, or the model has no such linear maps.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError("LoRA needs PEFT: pip install 'growloop[lora]'") from error
    layers = find_decoder(model).path
    targets = settings.modules or sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if name.startswith(layers) and isinstance(module, nn.Linear)
        }
    )
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or 2 * settings.rank,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(targets),
    )
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(config, model)
        except ValueError as error:
            raise InputError(f"no adapters on {', '.join(targets)}: {error}") from error


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the adapter weights by name; empty for a model without adapters."""
    return {name: value for name, value in model.state_dict().items() if MARK in name}


def save(model: PreTrainedModel, folder: Path, base: str | None) -> None:
    """Write the adapters in PEFT's format: weights and ``adapter_config.json``.

    ``peft.PeftModel.from_pretrained(base_model, folder)`` reads them.

    Args:
        folder: created if missing.
        base: hub id or folder of the base model, for the config.
    """
    folder.mkdir(exist_ok=True)
    weights = {
        PEFT_PREFIX + name.replace(f".{ADAPTER}.", "."): value.contiguous()
        for name, value in tensors(model).items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(str(folder))


def load(folder: Path) -> dict[str, Tensor]:
    """Load the weights that :func:`save` wrote, by the names of :func:`tensors`."""
    weights = {}
    for name, value in load_file(folder / WEIGHTS).items():
        stem, _, last = name.removeprefix(PEFT_PREFIX).rpartition(".")
        weights[f"{stem}.{ADAPTER}.{last}"] = value
    return weights


def restore(model: nn.Module, saved: dict[str, Tensor]) -> None:
    """Restore adapter weights, named as by :func:`tensors`.

    Raises:
        InputError: names or shapes differ from the adapters of the model.
    """
    expected = {name: value.shape for name, value in tensors(model).items()}
    if {name: value.shape for name, value in saved.items()} != expected:
        raise InputError("the adapters of the checkpoint are not those of the run")
    model.load_state_dict(saved, strict=False)


@torch.no_grad()
def merged(model: PreTrainedModel) -> dict[str, Any]:
    """Return an ordinary state dict with the adapters merged into the weights."""
    state = {k: v for k, v in model.state_dict().items() if MARK not in k}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = state[f"{name}{BASE}.weight"]
            delta = module.get_delta_weight(next(iter(module.lora_A)))
            state[f"{name}{BASE}.weight"] = weight + delta.to(weight)
    return {name.replace(BASE, ""): value for name, value in state.items()}
