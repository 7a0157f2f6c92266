"""Low-rank adapters (LoRA): attached in place, so that a model stays what it is."""

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
from .runfile import Lora

ADAPTER = "default"  # PEFT's name of the adapter
MARK = "lora_"
PEFT_PREFIX = "base_model.model."  # of the weights in a file of PEFT
WEIGHTS = "adapter_model.safetensors"
BASE = ".base_layer"


def attach(model: PreTrainedModel, settings: Lora, seed: int) -> None:
    """Freeze a model and put adapters on linear maps of its layers, drawn with the seed.

    Raises:
        InputError: PEFT is not installed, or the model has no such maps.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError("LoRA needs PEFT: pip install 'growloop[lora]'") from error
    layers = find_decoder(model).path
    inside = settings.modules or sorted(
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
        target_modules=list(inside),
    )
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(config, model)
        except ValueError as error:
            raise InputError(f"no adapters on {', '.join(inside)}: {error}") from error


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the adapters by name; none where there are no adapters."""
    return {name: value for name, value in model.state_dict().items() if MARK in name}


def save(model: PreTrainedModel, folder: Path, base: str | None) -> None:
    """Write the adapters as PEFT does: weights and ``adapter_config.json``.

    Args:
        folder: made if need be. ``peft.PeftModel.from_pretrained(base_model, folder)`` reads it.
        base: hub id or folder of the model they were trained on, for the config.
    """
    folder.mkdir(exist_ok=True)
    found = {
        PEFT_PREFIX + name.replace(f".{ADAPTER}.", "."): value.contiguous()
        for name, value in tensors(model).items()
    }
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(str(folder))


def load(folder: Path) -> dict[str, Tensor]:
    """Weights written by :func:`save`, under the names of :func:`tensors`."""
    found = {}
    for name, value in load_file(folder / WEIGHTS).items():
        stem, _, last = name.removeprefix(PEFT_PREFIX).rpartition(".")
        found[f"{stem}.{ADAPTER}.{last}"] = value
    return found


def restore(model: nn.Module, saved: dict[str, Tensor]) -> None:
    """Put back what :func:`tensors` gave.

    Raises:
        InputError: adapters of another kind.
    """
    wanted = {name: value.shape for name, value in tensors(model).items()}
    if {name: value.shape for name, value in saved.items()} != wanted:
        raise InputError("the adapters of the checkpoint are not those of the run")
    model.load_state_dict(saved, strict=False)


@torch.no_grad()
def merged(model: PreTrainedModel) -> dict[str, Any]:
    """The weights of the model without adapters, what they do added: an ordinary state dict."""
    found = {k: v for k, v in model.state_dict().items() if MARK not in k}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = found[f"{name}{BASE}.weight"]
            delta = module.get_delta_weight(next(iter(module.lora_A)))
            found[f"{name}{BASE}.weight"] = weight + delta.to(weight)
    return {name.replace(BASE, ""): value for name, value in found.items()}
