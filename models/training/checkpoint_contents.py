"""What a checkpoint of a run holds, and how it is read back.

Beside the model: every optimizer's moments by parameter name, and ``training.json`` with whatever
else the next step depends on, among it the random state.
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
from .. import checkpoints
from . import adapters
from .optim import optimizers
from .runfile import Run
from .setup import first_model

ADAPTER = "adapter"
"""Folder of the adapter in PEFT's format."""
STATE = "training.json"
OPTIMIZERS = "optimizers"
"""Folder of the moments: engines that read every ``*.safetensors`` of a model do not see them."""

OptimizerState = tuple[dict[str, Tensor], dict[str, Any]]
"""Its tensors by name, and the rest."""


def write_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    base: str | None = None,
) -> None:
    """Write the model as an ordinary Hugging Face folder, adapters merged and also in one of PEFT.

    Args:
        base: the model that adapters were trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if adapters.tensors(model):
        adapters.save(model, folder / ADAPTER, base)
        model.save_pretrained(folder, state_dict=adapters.merged(model))
    else:
        model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def read_model(run: Run, folder: Path) -> PreTrainedModel:
    """The model of a checkpoint in float32, as it trains."""
    if run.model.lora is None:
        return checkpoints.load(str(folder), dtype=torch.float32)
    model = first_model(run)
    old = folder / "adapters.safetensors"  # of earlier checkpoints
    saved = load_file(old) if old.is_file() else adapters.load(folder / ADAPTER)
    adapters.restore(model, saved)
    return model


def write_state(folder: Path, found: list[OptimizerState], state: dict[str, Any]) -> None:
    """Optimizers, ``state`` (JSON), the random state of this process and the versions."""
    rests = []
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
    """What ``write_state`` was given, and what it added."""
    found: dict[str, Any] = json.loads((folder / STATE).read_text())
    return found


def restore(
    folder: Path, state: dict[str, Any], model: PreTrainedModel, made: list[Optimizer]
) -> None:
    """Put moments back into optimizers, and the random state into this process.

    Raises:
        InputError: the checkpoint has the moments of other optimizers.
    """
    if len(state["optimizers"]) != len(made):
        raise InputError(
            f"{folder} was trained with another optimizer: its moments cannot go on in this one"
        )
    for i, optimizer in enumerate(made):
        old = folder / f"optimizer-{i}.safetensors"  # of earlier checkpoints
        tensors = load_file(old if old.is_file() else _moments(folder, i))
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
