"""Reads and writes checkpoints: a model and its tokenizer, looped or plain."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from ..core.errors import InputError
from ..core.files import replacing
from ..core.loading import IncompleteError, load_complete
from ..core.model_names import located
from ..core.remote_code import refusal, trusted
from .looping.config import LoopedConfig, model_class

OF_A_CHECKPOINT = re.compile(
    r"(generation_)?config\.json|.*\.safetensors|.*\.index\.json|tokenizer.*|vocab.*|merges\.txt"
    r"|(special|added)_tokens.*\.json|(additional_)?chat_template.*|README\.md"
)
"""Files that a checkpoint consists of: anything else is not ours to overwrite."""


def load(pretrained: str, **options: Any) -> PreTrainedModel:
    """A model by its name: hub id, local folder, GGUF file or ``package:NAME``.

    Args:
        options: of ``from_pretrained``, among them ``dtype``, ``gguf_file`` (of a folder),
            ``trust_remote_code`` (run code that comes with the model; by default not).

    Raises:
        InputError: anything that keeps it from being loaded, in one sentence; a checkpoint whose
            weights are not those of its config, name by name and shape by shape, or whose files
            are not those that its index or its manifest lists.
    """
    try:
        place, options = _place(pretrained, options)
        if "gguf_file" in options and hasattr(transformers, "GgufConfig"):
            # newer versions would keep weights packed where they find kernels for it
            whole = transformers.GgufConfig(dequantize=True)
            options.setdefault("quantization_config", whole)
        model: PreTrainedModel = load_complete(
            AutoModelForCausalLM.from_pretrained, place, **options
        )
    except InputError:
        raise
    except IncompleteError as error:
        raise InputError(str(error)) from error
    except Exception as error:  # a checkpoint can fail in every way there is
        wrong = f"cannot load model '{pretrained}': {_first_line(error)}"
        raise InputError(refusal(pretrained, error) or wrong) from error
    if "gguf_file" in options:  # read in full precision: nothing of what is written is quantized
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
    return model


def empty(config: Any) -> Any:
    """The model of a config without its weights, on the meta device.

    Raises:
        InputError: the config is of no causal language model, or none can be built from it.
    """
    known = isinstance(config, LoopedConfig) or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or ())
    kind = None if known or own_code else model_class(config)
    try:
        with torch.device("meta"):
            if kind is None:
                return AutoModelForCausalLM.from_config(config, trust_remote_code=trusted())
            return kind(config)
    except InputError:
        raise
    except Exception as error:  # a config can fail in every way there is
        raise InputError(f"no model can be built from this config: {_first_line(error)}") from error


def load_config(pretrained: str, **options: Any) -> Any:
    """The config of a checkpoint alone.

    Raises:
        InputError: as :func:`load`.
    """
    try:
        place, options = _place(pretrained, options)
        return AutoConfig.from_pretrained(place, **options)
    except InputError:
        raise
    except Exception as error:
        wrong = f"cannot read '{pretrained}': {_first_line(error)}"
        raise InputError(refusal(pretrained, error) or wrong) from error


def load_tokenizer(pretrained: str, **options: Any) -> Any:
    """The tokenizer of a checkpoint, or None if it has none.

    Raises:
        InputError: it comes with code that may not run.
    """
    try:
        place, options = _place(pretrained, options)
        return AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:  # a model without a tokenizer is a model all the same
        if wrong := refusal(pretrained, error):
            raise InputError(wrong) from error
        return None


def _place(pretrained: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What ``from_pretrained`` takes for a model, and its options with those of every load."""
    options = {"trust_remote_code": trusted(), **options}
    if "gguf_file" in options or os.path.isdir(pretrained):  # a folder may be its subfolder's
        return pretrained, options
    where = located(str(pretrained))
    return where.pop("pretrained"), where | options


def save(model: PreTrainedModel, tokenizer: Any, out: str | Path, overwrite: bool = False) -> Path:
    """Write a checkpoint, whole or not at all.

    Args:
        out: a folder that does not exist, is empty, or may be replaced (``overwrite``).

    Raises:
        InputError: a folder that holds something.
        OSError: a file cannot be written; ``filename`` is its place below ``out``.
    """
    folder = check_out(out, overwrite)
    with replacing(folder, folder=True) as part:
        model.save_pretrained(part)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
    return folder


def check_out(out: str | Path, overwrite: bool = False) -> Path:
    """The folder to write to, refused before the work if it cannot be written."""
    if not str(out).strip():
        raise InputError("give a folder to write to")
    folder = Path(out).resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{out} is a file: give a folder")
    if folder.is_dir() and (held := sorted(path.name for path in folder.iterdir())):
        if not overwrite:
            raise InputError(f"{out} holds something already: give another folder or --overwrite")
        other = [name for name in held if not OF_A_CHECKPOINT.fullmatch(name)]
        if other or "config.json" not in held:
            what = other[0] if other else "no config.json"
            raise InputError(f"{out} is no checkpoint alone ({what}): it will not be overwritten")
    existing = folder.parent
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"cannot write to {out}: {existing} is no folder that can be written to")
    return folder


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
