"""Which model a path holds: what was measured of another one is not taken for it."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from ..tasks.evaluate import model_arguments

CONFIG = "config.json"
KINDS = ("model*.safetensors", "*.safetensors"), ("*.bin",)
OTHERS = ("tokenizer*.json", "*.model", "vocab.*", "merges.txt", "added_tokens.json", CONFIG)
UNTOLD = {"transformers_version", "_name_or_path"}  # of a config: they decide no number
Files = tuple[tuple[str, int, int], ...]
"""Name, bytes and time of change in nanoseconds of each file."""


def weights(model: str) -> dict[str, Any] | None:
    """What tells the model at a path from others that were there before; None of a hub id.

    Its weights, its config (with the schedule it runs), its tokenizer.

    Example::

        weights("runs/lidas/step-000003500")
        # {"files": [["model.safetensors", 1675072, 1763846400000000000], …], "sha256": "9f0c…"}
    """
    found = _files(model)
    if found is None:
        return None
    folder, files = found
    return {"files": [list(file) for file in files], "sha256": _digest(folder, files)}


def changed(model: str, was: dict[str, Any] | None) -> bool:
    """Whether a path holds another model now; files of the same time are taken to be the same.

    Args:
        was: what :func:`weights` said; None of a model or time that nothing is known of.
    """
    if was is None or (found := _files(model)) is None:
        return False
    folder, files = found
    same = [list(file) for file in files] == was["files"]
    return not same and _digest(folder, files) != was["sha256"]


def digest(model: str) -> str:
    """Of the content of a model at a path; of a hub id, the id."""
    found = weights(model)
    return model if found is None else str(found["sha256"])


def _files(model: str) -> tuple[Path, Files] | None:
    where = model_arguments(model)
    folder = Path(where["pretrained"])
    if not folder.is_dir():
        return None
    if "gguf_file" in where:
        files = {folder / where["gguf_file"]}
    else:
        every = (_matching(folder, (kind,)) for kinds in KINDS for kind in kinds)
        files = next(filter(None, every), set()) | _matching(folder, OTHERS)
    stats = ((file.name, file.stat()) for file in sorted(files))
    return folder, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _matching(folder: Path, kinds: tuple[str, ...]) -> set[Path]:
    return {file for kind in kinds for file in folder.glob(kind)}


@functools.cache
def _digest(folder: Path, files: Files) -> str:
    every = hashlib.sha256()
    for name, _, _ in files:
        if name == CONFIG:
            config = json.loads((folder / name).read_bytes())
            told = {key: value for key, value in config.items() if key not in UNTOLD}
            every.update(json.dumps(told, sort_keys=True).encode())
            continue
        with open(folder / name, "rb") as file:
            while part := file.read(1 << 22):
                every.update(part)
    return every.hexdigest()
