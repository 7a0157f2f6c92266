"""Reading and writing of checkpoints: a model, looped or not, and its tokenizer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
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
from ..core.model_files import lacks_tokenizer
from ..core.model_names import located
from ..core.published_code import understand
from ..core.remote_code import refusal, trusted
from .looping.config import LoopedConfig, model_class
from .looping.native import adopt

OF_A_CHECKPOINT = re.compile(
    r"(generation_)?config\.json|.*\.safetensors|.*\.index\.json|tokenizer.*|vocab.*|merges\.txt"
    r"|(special|added)_tokens.*\.json|(additional_)?chat_template.*|README\.md|modeling_looped\.py"
)
"""Names of checkpoint files; a folder with any other file is never overwritten."""


def load(pretrained: str, **options: Any) -> PreTrainedModel:
    """Load a model: hub id, local folder, GGUF file or ``package:NAME``.

    Args:
        options: keyword arguments of ``from_pretrained``, such as ``dtype``, ``gguf_file`` (in a
            folder) and ``trust_remote_code`` (run code that comes with the model; default False).

    Raises:
        InputError: the model cannot be loaded; names or shapes of its weights do not match its
            config; or its files do not match its index or manifest.

    Example::

        model = load("runs/lidas/step-000003500", dtype="bfloat16")
    """
    try:
        place, options = _place(pretrained, options)
        if "gguf_file" in options and hasattr(transformers, "GgufConfig"):
            # newer versions would keep weights packed if they find kernels for that
            dequantized = transformers.GgufConfig(dequantize=True)
            options.setdefault("quantization_config", dequantized)
        understand(place, **options)
        model: PreTrainedModel = adopt(
            load_complete(AutoModelForCausalLM.from_pretrained, place, **options)
        )
    except InputError:
        raise
    except IncompleteError as error:
        raise InputError(str(error)) from error
    except Exception as error:  # a damaged checkpoint can raise anything
        message = f"cannot load model '{pretrained}': {_first_line(error)}"
        raise InputError(refusal(pretrained, error) or message) from error
    if "gguf_file" in options:  # dequantized now, so a saved copy must not claim quantization
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
    return model


def empty(config: Any) -> Any:
    """Build the model of a config without weights, on the meta device.

    Raises:
        InputError: the config is not of a causal language model, or the model cannot be built.
    """
    supported = isinstance(config, LoopedConfig) or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    remote_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or ())
    kind = None if supported or remote_code else model_class(config)
    try:
        with torch.device("meta"):
            if kind is None:
                return AutoModelForCausalLM.from_config(config, trust_remote_code=trusted())
            return kind(config)
    except InputError:
        raise
    except Exception as error:  # a damaged config can raise anything
        raise InputError(f"no model can be built from this config: {_first_line(error)}") from error


def load_config(pretrained: str, **options: Any) -> Any:
    """Load the config of a checkpoint.

    Raises:
        InputError: the config cannot be read.
    """
    try:
        place, options = _place(pretrained, options)
        understand(place, **options)
        return AutoConfig.from_pretrained(place, **options)
    except InputError:
        raise
    except Exception as error:
        message = f"cannot read '{pretrained}': {_first_line(error)}"
        raise InputError(refusal(pretrained, error) or message) from error


def load_tokenizer(pretrained: str, **options: Any) -> Any:
    """Load the tokenizer of a checkpoint; None if it has none that can be read and written.

    Raises:
        InputError: the tokenizer needs remote code, which is not trusted.
    """
    try:
        place, options = _place(pretrained, options)
        if not options.keys() & {"gguf_file", "subfolder"} and lacks_tokenizer(Path(place)):
            return None  # some versions of transformers make one without a vocabulary
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        json.dumps(tokenizer.init_kwargs, default=str, ensure_ascii=False).encode()
        return tokenizer
    except Exception as error:  # a model without a tokenizer is usable
        if message := refusal(pretrained, error):
            raise InputError(message) from error
        return None


def _place(pretrained: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the first argument of ``from_pretrained`` and its keyword arguments."""
    options = {"trust_remote_code": trusted(), **options}
    if "gguf_file" in options or os.path.isdir(pretrained):  # the config may be in a subfolder
        return pretrained, options
    where = located(str(pretrained))
    return where.pop("pretrained"), where | options


def save(
    model: PreTrainedModel,
    tokenizer: Any,
    out: str | Path,
    overwrite: bool = False,
    self_contained: bool = False,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint atomically and return its folder.

    Args:
        out: folder to write.
        overwrite: replace a checkpoint in ``out``.
        self_contained: add code to a looped model that loads it without growloop, and a model card.
        card: arguments of :func:`.looping.model_card.model_card`, such as ``command``.

    Raises:
        InputError: ``out`` is not empty, or holds other files than a checkpoint; a model that
            self-contained code cannot compute.
        OSError: a file cannot be written; ``filename`` is its path below ``out``.
    """
    folder = check_out(out, overwrite)
    options: dict[str, Any] = {}
    if self_contained:
        if not isinstance(model.config, LoopedConfig):
            raise InputError("a model that does not loop needs no code: save it as it is")
        options = {"self_contained": True, "card": {"name": folder.name, **(card or {})}}
    with replacing(folder, folder=True) as part:
        model.save_pretrained(part, **options)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
    return folder


def check_out(out: str | Path, overwrite: bool = False) -> Path:
    """Resolve the folder to write to, and check it before any work is done.

    Raises:
        InputError: the folder cannot be written, or may not be overwritten.
    """
    if not str(out).strip():
        raise InputError("give a folder to write to")
    folder = Path(out).resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{out} is a file: give a folder")
    if folder.is_dir() and (names := sorted(path.name for path in folder.iterdir())):
        if not overwrite:
            raise InputError(f"{out} is not empty: give another folder or --force")
        other = [name for name in names if not OF_A_CHECKPOINT.fullmatch(name)]
        if other or "config.json" not in names:
            what = other[0] if other else "no config.json"
            raise InputError(
                f"{out} holds more than a checkpoint ({what}): it will not be overwritten"
            )
    existing = folder.parent
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"cannot write to {out}: {existing} is not a writable folder")
    return folder


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
