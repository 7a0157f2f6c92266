"""Contents of a run's checkpoint: writing them, and reading them back.

A checkpoint holds the model, each optimizer's moments by parameter name, the float32 weights of a
model that is written in fewer bits, and ``training.json``: everything else that the next step
depends on, such as the random state.
"""

from __future__ import annotations

import base64
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ...core import plugins
from ...core.errors import InputError
from ...core.strict_json import read_object
from .. import checkpoints
from . import adapters, dtypes
from .optim import optimizers
from .runfile import Run
from .setup import first_model

ADAPTER = "adapter"
"""Folder with the LoRA adapter in PEFT's format."""
STATE = "training.json"
FIELDS: dict[str, Any] = {
    "step": int, "tokens": int, "flops": float, "full_depth": int, "run": dict, "source": dict,
    "optimizers": list, "random": str, "inputs": (dict, type(None)), "best": (dict, type(None)),
}  # fmt: skip
"""Fields of ``training.json``: name -> type, for :func:`.strict_json.read_object`."""
OPTIMIZERS = "optimizers"
"""Folder of the moments, so that inference engines that read ``*.safetensors`` skip them."""
MASTERS = "weights.safetensors"
"""File in ``OPTIMIZERS`` with the float32 weights, if the model's own file has fewer bits."""

OptimizerState = tuple[dict[str, Tensor], dict[str, Any]]
"""State of one optimizer: (tensors by name, everything else as JSON)."""


def write_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    base: str | None = None,
    dtype: torch.dtype = dtypes.TRAINED,
) -> None:
    """Write the model as an ordinary Hugging Face folder.

    LoRA adapters are merged into the weights, and also written to ``ADAPTER`` in PEFT's format.

    Args:
        base: hub id or folder of the model that adapters were trained on.
        dtype: dtype of the written weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = None
    if adapters.tensors(model):
        adapters.save(model, folder / ADAPTER, base)
        state = adapters.merged(model)
    if dtype != dtypes.TRAINED:
        state = dtypes.cast(model.state_dict() if state is None else state, dtype)
    model.save_pretrained(folder, state_dict=state)
    if dtype != dtypes.TRAINED:
        _set_config_dtype(folder / "config.json", dtype)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _set_config_dtype(config: Path, dtype: torch.dtype) -> None:
    """Set the ``dtype`` field of a ``config.json``."""
    fields = read_object(config)
    fields["dtype"] = dtypes.name_of(dtype)
    config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_model(run: Run, folder: Path) -> PreTrainedModel:
    """Load the model of a checkpoint in float32, the dtype of training."""
    if run.model.lora is None:
        full = checkpoints.load(str(folder), dtype=dtypes.TRAINED)
        if (masters := folder / OPTIMIZERS / MASTERS).is_file():
            dtypes.restore(full, load_file(masters))
        return full
    model = first_model(run)
    old = folder / "adapters.safetensors"  # name in checkpoints of earlier versions
    saved = load_file(old) if old.is_file() else adapters.load(folder / ADAPTER)
    adapters.restore(model, saved)
    return model


def write_state(
    folder: Path,
    optimizer_states: list[OptimizerState],
    state: dict[str, Any],
    masters: dict[str, Tensor] | None = None,
) -> None:
    """Write the state of training: moments, and ``training.json``.

    Adds the random state of this process and the versions of packages to ``state``.

    Args:
        optimizer_states: state of each optimizer.
        state: fields of ``training.json``.
        masters: float32 weights by name, if the model's own file has fewer bits.
    """
    metadata_of_all = []
    if masters is not None:
        (folder / OPTIMIZERS).mkdir(exist_ok=True)
        save_file(masters, folder / OPTIMIZERS / MASTERS)
    for i, (tensors, optimizer_metadata) in enumerate(optimizer_states):
        moments = {name: tensor.contiguous() for name, tensor in tensors.items()}
        (folder / OPTIMIZERS).mkdir(exist_ok=True)
        save_file(moments, _moments_file(folder, i))
        metadata_of_all.append(optimizer_metadata)
    random = _encode_random(torch.get_rng_state())
    content = {**state, "optimizers": metadata_of_all, "random": random}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        content["random_cuda"] = _encode_random(torch.cuda.get_rng_state())
    content["versions"] = versions()
    (folder / STATE).write_text(json.dumps(content))


def read_state(folder: Path) -> dict[str, Any]:
    """Read ``training.json`` as :func:`write_state` wrote it.

    Raises:
        FileError: the file is damaged, or belongs to no checkpoint.
    """
    return read_object(folder / STATE, **FIELDS)


def restore(
    folder: Path, state: dict[str, Any], model: PreTrainedModel, targets: list[Optimizer]
) -> None:
    """Restore the moments of optimizers and the random state of this process.

    Args:
        folder: checkpoint.
        state: its ``training.json``.
        targets: optimizers to fill.

    Raises:
        InputError: the checkpoint has the moments of other optimizers, or they were dropped.
    """
    if len(state["optimizers"]) != len(targets):
        raise InputError(
            f"{folder} was trained with another optimizer: its moments do not fit this one"
        )
    for i, optimizer in enumerate(targets):
        old = folder / f"optimizer-{i}.safetensors"  # name in checkpoints of earlier versions
        file = old if old.is_file() else _moments_file(folder, i)
        if not file.is_file():
            raise InputError(
                f"{folder} holds no optimizer states, so it cannot be resumed: its run is "
                "finished (growloop sft --keep-optimizer keeps them)"
            )
        tensors = load_file(file)
        optimizers.restore(optimizer, model, tensors, state["optimizers"][i])
    torch.set_rng_state(_decode_random(state["random"]))
    if "random_cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(_decode_random(state["random_cuda"]))


def _moments_file(folder: Path, number: int) -> Path:
    return folder / OPTIMIZERS / f"{number}.safetensors"


def _encode_random(random: Tensor) -> str:
    return base64.b64encode(random.numpy().tobytes()).decode()


def _decode_random(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def versions() -> dict[str, str]:
    """Return the versions of Python, packages and plug-ins that decide a run: name -> version."""
    names = ("growloop", "torch", "transformers", "accelerate", "tokenizers", "numpy")
    packages = {name: metadata.version(name) for name in names}
    return {"python": platform.python_version(), **packages, **plugins.used()}
