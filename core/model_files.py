"""The files that decide a model's numbers (weights, config, tokenizer, code) and their digest."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from .identity import sha256
from .strict_json import read_object

CONFIG = "config.json"
WEIGHTS = ("model*.safetensors", "*.safetensors"), ("*.bin",)
CODE = "*.py"  # of a model that comes with its own: it decides every number
OTHERS = (
    "tokenizer*.json", "*.model", "vocab.*", "merges.txt", "added_tokens.json", CODE, CONFIG,
)  # fmt: skip
DECIDES_NOTHING = {"transformers_version", "_name_or_path"}  # keys of a config
FileStates = tuple[tuple[str, int, int], ...]
"""Name, bytes and time of change in nanoseconds of each file."""


def model_files(folder: Path, gguf_file: str | None = None) -> set[Path]:
    """Weights, config and tokenizer of a model folder; of a GGUF model, its one file."""
    if gguf_file is not None:
        return {folder / gguf_file}
    every = (_matching(folder, (kind,)) for kinds in WEIGHTS for kind in kinds)
    return next(filter(None, every), set()) | _matching(folder, OTHERS)


def file_states(folder: Path, gguf_file: str | None = None) -> FileStates:
    """State of each of a model's files, sorted by name: the key of its digest."""
    stats = ((file.name, file.stat()) for file in sorted(model_files(folder, gguf_file)))
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def content_digest(path: Path) -> str:
    """SHA-256 of one of a model's files; of the config, of the fields that decide a number."""
    if path.name == CONFIG:
        return hashlib.sha256(_decisive(path)).hexdigest()
    return sha256(path)


def model_digest(folder: Path, gguf_file: str | None = None) -> str:
    """SHA-256 of a model's content: equal for a copy of the folder, wherever it lies.

    Weights and tokenizer count byte by byte, the config by its fields (without those that decide
    no number). Files unchanged in size and time are not read again in one process.
    """
    return _digest(folder.resolve(), file_states(folder, gguf_file))


def _matching(folder: Path, kinds: tuple[str, ...]) -> set[Path]:
    return {file for kind in kinds for file in folder.glob(kind)}


def _decisive(config: Path) -> bytes:
    fields = read_object(config)
    decisive = {name: value for name, value in fields.items() if name not in DECIDES_NOTHING}
    return json.dumps(decisive, sort_keys=True).encode()


@functools.cache
def _digest(folder: Path, files: FileStates) -> str:
    every = hashlib.sha256()
    for name, _, _ in files:
        if name == CONFIG:
            every.update(_decisive(folder / name))
            continue
        with open(folder / name, "rb") as file:
            while part := file.read(1 << 22):
                every.update(part)
    return every.hexdigest()
