"""Reads and writes checkpoints: a model and its tokenizer, looped or plain."""

from __future__ import annotations

import json
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

from ..core.files import replacing
from ..core.loading import IncompleteError, load_complete
from .config import LoopedConfig, model_class
from .errors import ModelError

OF_A_CHECKPOINT = re.compile(
    r"(generation_)?config\.json|.*\.safetensors|.*\.index\.json|tokenizer.*|vocab.*|merges\.txt"
    r"|(special|added)_tokens.*\.json|(additional_)?chat_template.*|README\.md"
)
"""Files that a checkpoint consists of: anything else is not ours to overwrite."""


def load(pretrained: str, **options: Any) -> PreTrainedModel:
    """A model from the hub, a local folder, or a GGUF file in one (``gguf_file=``).

    Raises:
        ModelError: anything that keeps it from being loaded, in one sentence; a checkpoint whose
            weights are not those of its config, name by name and shape by shape, or whose files
            are not those that its index or its manifest lists.
    """
    if "gguf_file" in options and hasattr(transformers, "GgufConfig"):
        # newer versions would keep weights packed where they find kernels for it
        whole = transformers.GgufConfig(dequantize=True)
        options.setdefault("quantization_config", whole)
    try:
        model: PreTrainedModel = load_complete(
            AutoModelForCausalLM.from_pretrained, pretrained, **options
        )
    except ModelError:
        raise
    except IncompleteError as error:
        raise ModelError(str(error)) from error
    except Exception as error:  # a checkpoint can fail in every way there is
        raise ModelError(f"cannot load model '{pretrained}': {_first_line(error)}") from error
    if "gguf_file" in options:  # read in full precision: nothing of what is written is quantized
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
    return model


def empty(config: Any) -> Any:
    """The model of a config without its weights, on the meta device.

    Raises:
        ModelError: the config is of no causal language model, or none can be built from it.
    """
    if not isinstance(config, LoopedConfig) and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = model_class(config)
    else:
        kind = AutoModelForCausalLM
    try:
        with torch.device("meta"):
            return kind.from_config(config) if kind is AutoModelForCausalLM else kind(config)
    except ModelError:
        raise
    except Exception as error:  # a config can fail in every way there is
        raise ModelError(f"no model can be built from this config: {_first_line(error)}") from error


def load_config(pretrained: str, **options: Any) -> Any:
    """The config of a checkpoint alone.

    Raises:
        ModelError: as :func:`load`.
    """
    try:
        return AutoConfig.from_pretrained(pretrained, **options)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"cannot read '{pretrained}': {_first_line(error)}") from error


def load_tokenizer(pretrained: str, **options: Any) -> Any:
    """The tokenizer of a checkpoint, or None if it has none that can be read and written."""
    try:
        found = AutoTokenizer.from_pretrained(pretrained, **options)
        json.dumps(found.init_kwargs, default=str, ensure_ascii=False).encode()
        return found
    except Exception:  # a model without a tokenizer is a model all the same
        return None


def save(model: PreTrainedModel, tokenizer: Any, out: str | Path, overwrite: bool = False) -> Path:
    """Write a checkpoint, whole or not at all.

    Args:
        out: a folder that does not exist, is empty, or may be replaced (``overwrite``).

    Raises:
        ModelError: a folder that holds something.
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
        raise ModelError("give a folder to write to")
    folder = Path(out).resolve()
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{out} is a file: give a folder")
    if folder.is_dir() and (held := sorted(path.name for path in folder.iterdir())):
        if not overwrite:
            raise ModelError(f"{out} holds something already: give another folder or --overwrite")
        other = [name for name in held if not OF_A_CHECKPOINT.fullmatch(name)]
        if other or "config.json" not in held:
            what = other[0] if other else "no config.json"
            raise ModelError(f"{out} is no checkpoint alone ({what}): it will not be overwritten")
    existing = folder.parent
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ModelError(f"cannot write to {out}: {existing} is no folder that can be written to")
    return folder


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
