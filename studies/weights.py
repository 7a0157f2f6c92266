"""Which weights a path holds: what was measured of others is not taken for theirs."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from ..tasks.evaluate import model_arguments

KINDS = "*.safetensors", "*.bin"
Files = tuple[tuple[str, int, int], ...]
"""Name, bytes and time of change in nanoseconds of each file."""


def weights(model: str) -> dict[str, Any] | None:
    """What tells the weights at a path from others that were there before; None of a hub id.

    Example::

        weights("runs/lidas/step-000003500")
        # {"files": [["model.safetensors", 1675072, 1763846400000000000]], "sha256": "9f0c…"}
    """
    found = _files(model)
    if found is None:
        return None
    folder, files = found
    return {"files": [list(file) for file in files], "sha256": _digest(folder, files)}


def changed(model: str, was: dict[str, Any] | None) -> bool:
    """Whether a path holds other weights now; files of the same time are taken to be the same.

    Args:
        was: what :func:`weights` said; None of a model or time that nothing is known of.
    """
    if was is None or (found := _files(model)) is None:
        return False
    folder, files = found
    same = [list(file) for file in files] == was["files"]
    return not same and _digest(folder, files) != was["sha256"]


def digest(model: str) -> str:
    """Of the content of all weights at a path; of a hub id, the id."""
    found = weights(model)
    return model if found is None else str(found["sha256"])


def _files(model: str) -> tuple[Path, Files] | None:
    where = model_arguments(model)
    folder = Path(where["pretrained"])
    if not folder.is_dir():
        return None
    if "gguf_file" in where:
        files = [folder / where["gguf_file"]]
    else:
        files = next((some for kind in KINDS if (some := sorted(folder.glob(kind)))), [])
    stats = ((file.name, file.stat()) for file in files)
    return folder, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@functools.cache
def _digest(folder: Path, files: Files) -> str:
    every = hashlib.sha256()
    for name, _, _ in files:
        with open(folder / name, "rb") as file:
            while part := file.read(1 << 22):
                every.update(part)
    return every.hexdigest()
