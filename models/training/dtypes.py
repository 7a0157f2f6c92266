"""Dtype of fine-tuned checkpoints: the dtype of the base model on disk.

Training always holds weights in float32. If the checkpoint's model has fewer bits, these float32
*master weights* are saved with the optimizer's moments, so that the run can resume.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ...core.errors import InputError, shown
from ...core.strict_json import FileError
from .. import checkpoints
from .checkpoints import STATE

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
TRAINED = torch.float32  # dtype of weights in training
FILES = "model.safetensors", "model.safetensors.index.json"


def stored_dtype(model: str) -> torch.dtype:
    """Return the dtype of most weights of a model on disk; float32 for quantized weights.

    Args:
        model: folder, hub id, GGUF file or ``package:NAME``.
    """
    folder = _model_folder(model)
    sizes: Counter[str] = Counter()
    for file in folder.glob("*.safetensors") if folder is not None else ():
        sizes.update(_count_numbers(file))
    if sizes:
        return DTYPES.get(sizes.most_common(1)[0][0], TRAINED)
    dtype = getattr(checkpoints.load_config(model), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) and dtype in DTYPES.values() else TRAINED


def name_of(dtype: torch.dtype) -> str:
    """Format a dtype as configs do: ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def named(name: object) -> torch.dtype:
    """Return the dtype of a name that :func:`name_of` wrote.

    Raises:
        InputError: no dtype of checkpoints.
    """
    for dtype in DTYPES.values():
        if name_of(dtype) == name:
            return dtype
    raise InputError(f"the checkpoint's dtype is {shown(name)}: {STATE} is damaged")


def cast(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Cast the floating-point tensors of a state dict; tied tensors stay tied."""
    cast_tensors: dict[tuple[Any, ...], Tensor] = {}
    new_state = {}
    for name, value in state.items():
        key = (value.data_ptr(), value.shape, value.stride())
        if value.is_floating_point():
            new_state[name] = cast_tensors.setdefault(key, value.to(dtype))
        else:
            new_state[name] = value
    return new_state


def masters(model: nn.Module) -> dict[str, Tensor]:
    """Return the floating-point tensors of a model: first name -> tensor, tied ones once."""
    named_tensors: dict[int, tuple[str, Tensor]] = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            named_tensors.setdefault(value.data_ptr(), (name, value.contiguous()))
    return dict(named_tensors.values())


def restore(model: nn.Module, saved: dict[str, Tensor]) -> None:
    """Restore the float32 master weights of a model.

    Raises:
        InputError: names or shapes differ from those of the model.
    """
    expected = {name: value.shape for name, value in masters(model).items()}
    if {name: value.shape for name, value in saved.items()} != expected:
        raise InputError("the checkpoint's float32 weights are not those of its model")
    model.load_state_dict(saved, strict=False)


def _model_folder(model: str) -> Path | None:
    """Return the local folder of a model's files; None for an uncached hub id or a GGUF model."""
    if (path := Path(model)).is_dir():
        return path
    if path.exists() or model.startswith("package:"):
        return None
    from huggingface_hub import try_to_load_from_cache

    for name in FILES:
        cached = try_to_load_from_cache(model, name)
        if isinstance(cached, str):
            return Path(cached).parent
    return None


def _count_numbers(file: Path) -> Counter[str]:
    """Count the numbers of a safetensors file by dtype, from its header.

    Raises:
        FileError: the header is damaged.
    """
    sizes: Counter[str] = Counter()
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not iterable)
                part = tensors.get_slice(name)
                sizes[part.get_dtype()] += prod(part.get_shape())
    except SafetensorError as error:
        raise FileError(f"{file} is damaged: {error}") from None
    return sizes
