"""Reads and writes checkpoints: a model and its tokenizer, looped or plain."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from .errors import ModelError


def load(pretrained: str, **options: Any) -> PreTrainedModel:
    """A model from the hub, a local folder, or a GGUF file in one (``gguf_file=``).

    Raises:
        ModelError: anything that keeps it from being loaded, in one sentence.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(pretrained, **options)
    except ModelError:
        raise
    except Exception as error:  # a checkpoint can fail in every way there is
        raise ModelError(f"cannot load model '{pretrained}': {_first_line(error)}") from error
    if "gguf_file" in options:  # read in full precision: nothing of what is written is quantized
        model.config.__dict__.pop("quantization_config", None)
        model.hf_quantizer = None
    return model


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
    """The tokenizer of a checkpoint, or None if it has none."""
    try:
        return AutoTokenizer.from_pretrained(pretrained, **options)
    except Exception:  # a model without a tokenizer is a model all the same
        return None


def save(model: PreTrainedModel, tokenizer: Any, out: str | Path, overwrite: bool = False) -> Path:
    """Write a checkpoint, whole or not at all.

    Args:
        out: a folder that does not exist, is empty, or may be replaced (``overwrite``).

    Raises:
        ModelError: a folder that holds something.
    """
    folder = check_out(out, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        part.chmod(0o777 & ~_umask())
        model.save_pretrained(part)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def check_out(out: str | Path, overwrite: bool = False) -> Path:
    """The folder to write to, refused before the work if it cannot be written."""
    folder = Path(out)
    if folder.is_file():
        raise ModelError(f"{out} is a file: give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise ModelError(f"{out} holds something already: give another folder or --overwrite")
        if not (folder / "config.json").is_file():
            raise ModelError(f"{out} holds no checkpoint: it will not be overwritten")
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
