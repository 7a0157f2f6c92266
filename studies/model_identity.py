"""Identity of the model at a path, to notice when its files hold another model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.model_files import file_states, model_digest
from ..tasks.evaluate import model_arguments


def weights(model: str) -> dict[str, Any] | None:
    """Identify the model at a path (weights, config, tokenizer); None for a hub id.

    Example::

        weights("runs/lidas/step-000003500")
        # {"files": [["model.safetensors", 1675072, 1763846400000000000], …], "sha256": "9f0c…"}
    """
    if (place := _place(model)) is None:
        return None
    return {"files": [list(file) for file in file_states(*place)], "sha256": model_digest(*place)}


def changed(model: str, was: Mapping[str, Any] | None) -> bool:
    """Return whether a path holds another model now.

    Files of equal size and time are not read again.

    Args:
        was: earlier result of :func:`weights`; None where it is not known.
    """
    if was is None or (place := _place(model)) is None:
        return False
    same = [list(file) for file in file_states(*place)] == was.get("files")
    return not same and model_digest(*place) != was.get("sha256")


def is_known(model: str) -> bool:
    """Return whether a model is identified by its content: a local one, not a hub id."""
    return _place(model) is not None


def digest(model: str) -> str:
    """Return the digest of the model at a path; for a hub id, the id."""
    place = _place(model)
    return model if place is None else model_digest(*place)


def _place(model: str) -> tuple[Path, str | None] | None:
    """Return folder and GGUF file of a model; None for a hub id."""
    where = model_arguments(model)
    folder = Path(where["pretrained"])
    return (folder, where.get("gguf_file")) if folder.is_dir() else None
