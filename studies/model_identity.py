"""Identity of the model at a path: what was measured of another one is not taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.model_files import file_states, model_digest
from ..tasks.evaluate import model_arguments


def weights(model: str) -> dict[str, Any] | None:
    """Identity of the model at a path (weights, config, tokenizer); None of a hub id.

    Example::

        weights("runs/lidas/step-000003500")
        # {"files": [["model.safetensors", 1675072, 1763846400000000000], …], "sha256": "9f0c…"}
    """
    if (place := _place(model)) is None:
        return None
    return {"files": [list(file) for file in file_states(*place)], "sha256": model_digest(*place)}


def changed(model: str, was: dict[str, Any] | None) -> bool:
    """Whether a path holds another model now; files of the same time are taken to be the same.

    Args:
        was: an earlier result of :func:`weights`; None of a model or time without one.
    """
    if was is None or (place := _place(model)) is None:
        return False
    same = [list(file) for file in file_states(*place)] == was.get("files")
    return not same and model_digest(*place) != was.get("sha256")


def is_known(model: str) -> bool:
    """Whether a model is known by its content: not a hub id."""
    return _place(model) is not None


def digest(model: str) -> str:
    """Digest of the model at a path; of a hub id, the id."""
    place = _place(model)
    return model if place is None else model_digest(*place)


def _place(model: str) -> tuple[Path, str | None] | None:
    """Folder and GGUF file of a model; None of a hub id."""
    where = model_arguments(model)
    folder = Path(where["pretrained"])
    return (folder, where.get("gguf_file")) if folder.is_dir() else None
