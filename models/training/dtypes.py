"""The dtype that a fine-tuned model is written in: the one its base has on disk.

Training holds its weights in float32, whatever they were. A copy of the model that is written with
fewer bits leaves those *masters* beside the optimizer's moments, for a run that goes on.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import InputError
from .. import checkpoints

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
TRAINED = torch.float32
FILES = "model.safetensors", "model.safetensors.index.json"


def stored_dtype(model: str) -> torch.dtype:
    """Dtype of most weights of a model on disk; float32 of weights that are quantized.

    Args:
        model: folder, hub id, GGUF file or ``package:NAME``.
    """
    folder = _folder(model)
    sizes: Counter[str] = Counter()
    for file in folder.glob("*.safetensors") if folder is not None else ():
        sizes.update(_sizes(file))
    if sizes:
        return DTYPES.get(sizes.most_common(1)[0][0], TRAINED)
    named = getattr(checkpoints.load_config(model), "dtype", None)
    return named if isinstance(named, torch.dtype) and named in DTYPES.values() else TRAINED


def name_of(dtype: torch.dtype) -> str:
    """A dtype as configs have it: ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def cast(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A state dict with its numbers in a dtype; what shares memory goes on sharing it."""
    made: dict[tuple[Any, ...], Tensor] = {}
    found = {}
    for name, value in state.items():
        key = (value.data_ptr(), value.shape, value.stride())
        if value.is_floating_point():
            found[name] = made.setdefault(key, value.to(dtype))
        else:
            found[name] = value
    return found


def masters(model: nn.Module) -> dict[str, Tensor]:
    """The numbers of a model, each once, under the first name that it has."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            found.setdefault(value.data_ptr(), (name, value.contiguous()))
    return dict(found.values())


def restore(model: nn.Module, saved: dict[str, Tensor]) -> None:
    """Put masters back into a model that was read with fewer bits.

    Raises:
        InputError: they are those of another model.
    """
    wanted = {name: value.shape for name, value in masters(model).items()}
    if {name: value.shape for name, value in saved.items()} != wanted:
        raise InputError("the checkpoint's float32 weights are not those of its model")
    model.load_state_dict(saved, strict=False)


def _folder(model: str) -> Path | None:
    """Where the files of a model are; None of a hub id that is not in the cache."""
    if (path := Path(model)).is_dir():
        return path
    if path.exists() or model.startswith("package:"):
        return None
    from huggingface_hub import try_to_load_from_cache

    for name in FILES:
        found = try_to_load_from_cache(model, name)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _sizes(file: Path) -> Counter[str]:
    """Numbers of a file of safetensors by dtype, read from its header."""
    with open(file, "rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    sizes: Counter[str] = Counter()
    for tensor in header.values():
        sizes[tensor["dtype"]] += prod(tensor["shape"])
    return sizes
