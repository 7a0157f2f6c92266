"""What a checkpoint of a run holds, and how it is read back.

Beside the model: every optimizer's moments by parameter name (and the float32 weights of a model
that is written in fewer bits), and ``training.json`` with whatever else the next step depends on,
among it the random state.
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

from ...core.errors import InputError
from ...core.strict_json import read_object
from .. import checkpoints
from . import adapters, dtypes
from .optim import optimizers
from .runfile import Run
from .setup import first_model

ADAPTER = "adapter"
"""Folder of the adapter in PEFT's format."""
STATE = "training.json"
FIELDS: dict[str, Any] = {
    "step": int, "tokens": int, "flops": float, "full_depth": int, "run": dict, "source": dict,
    "optimizers": list, "random": str, "inputs": (dict, type(None)), "best": (dict, type(None)),
}  # fmt: skip
"""Fields of the state that a run goes on from."""
OPTIMIZERS = "optimizers"
"""Folder of the moments: engines that read every ``*.safetensors`` of a model do not see them."""
MASTERS = "weights.safetensors"
"""File in it with the weights as they train, where the model's own file has fewer bits."""

OptimizerState = tuple[dict[str, Tensor], dict[str, Any]]
"""Its tensors by name, and the rest."""


def write_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    base: str | None = None,
    dtype: torch.dtype = dtypes.TRAINED,
) -> None:
    """Write the model as an ordinary Hugging Face folder, adapters merged and also in one of PEFT.

    Args:
        base: the model that adapters were trained on.
        dtype: that the weights are written in.
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
        _name_dtype(folder / "config.json", dtype)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _name_dtype(config: Path, dtype: torch.dtype) -> None:
    """Let a config.json say the dtype of the weights beside it."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    fields["dtype"] = dtypes.name_of(dtype)
    config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_model(run: Run, folder: Path) -> PreTrainedModel:
    """The model of a checkpoint in float32, as it trains."""
    if run.model.lora is None:
        whole = checkpoints.load(str(folder), dtype=dtypes.TRAINED)
        if (masters := folder / OPTIMIZERS / MASTERS).is_file():
            dtypes.restore(whole, load_file(masters))
        return whole
    model = first_model(run)
    old = folder / "adapters.safetensors"  # of earlier checkpoints
    saved = load_file(old) if old.is_file() else adapters.load(folder / ADAPTER)
    adapters.restore(model, saved)
    return model


def write_state(
    folder: Path,
    found: list[OptimizerState],
    state: dict[str, Any],
    masters: dict[str, Tensor] | None = None,
) -> None:
    """Optimizers, ``state`` (JSON), the random state of this process and the versions.

    Args:
        masters: the weights as they train, where the model's file has fewer bits.
    """
    rests = []
    if masters is not None:
        (folder / OPTIMIZERS).mkdir(exist_ok=True)
        save_file(masters, folder / OPTIMIZERS / MASTERS)
    for i, (tensors, rest) in enumerate(found):
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        (folder / OPTIMIZERS).mkdir(exist_ok=True)
        save_file(whole, _moments(folder, i))
        rests.append(rest)
    content = {**state, "optimizers": rests, "random": _text(torch.get_rng_state())}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        content["random_cuda"] = _text(torch.cuda.get_rng_state())
    content["versions"] = versions()
    (folder / STATE).write_text(json.dumps(content))


def read_state(folder: Path) -> dict[str, Any]:
    """What ``write_state`` was given, and what it added.

    Raises:
        FileError: a file that is damaged, or of no checkpoint.
    """
    return read_object(folder / STATE, **FIELDS)


def restore(
    folder: Path, state: dict[str, Any], model: PreTrainedModel, made: list[Optimizer]
) -> None:
    """Put moments back into optimizers, and the random state into this process.

    Raises:
        InputError: the checkpoint has the moments of other optimizers, or none any more.
    """
    if len(state["optimizers"]) != len(made):
        raise InputError(
            f"{folder} was trained with another optimizer: its moments cannot go on in this one"
        )
    for i, optimizer in enumerate(made):
        old = folder / f"optimizer-{i}.safetensors"  # of earlier checkpoints
        file = old if old.is_file() else _moments(folder, i)
        if not file.is_file():
            raise InputError(
                f"{folder} holds no optimizer states, which nothing can go on without: its run is "
                "finished (growloop sft --keep-optimizer keeps them)"
            )
        tensors = load_file(file)
        optimizers.restore(optimizer, model, tensors, state["optimizers"][i])
    torch.set_rng_state(_state(state["random"]))
    if "random_cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(_state(state["random_cuda"]))


def _moments(folder: Path, number: int) -> Path:
    return folder / OPTIMIZERS / f"{number}.safetensors"


def _text(random: Tensor) -> str:
    return base64.b64encode(random.numpy().tobytes()).decode()


def _state(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a run."""
    names = ("growloop", "torch", "transformers", "accelerate", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}
