"""Digest of a model's content: weights, config, tokenizer and code."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from pathlib import Path

from .identity import sha256
from .strict_json import read_object

CONFIG = "config.json"
WEIGHTS = ("model*.safetensors", "*.safetensors"), ("*.bin",)
CODE = "*.py"  # a model's own code decides every number
OTHERS = (
    "tokenizer*.json", "*.model", "vocab.*", "merges.txt", "added_tokens.json", CODE, CONFIG,
)  # fmt: skip
DECIDES_NOTHING = {"transformers_version", "_name_or_path"}  # config keys that change no result
TOKENIZER_FILE = re.compile(r"token|vocab|merges|spiece|sentencepiece|bpe|tekken|\.model$")
"""Parts of the names of tokenizer files."""
FileStates = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and modification time in nanoseconds of each file."""


def model_files(folder: Path, gguf_file: str | None = None) -> set[Path]:
    """Return the weights, config and tokenizer files of a model folder, or its one GGUF file."""
    if gguf_file is not None:
        return {folder / gguf_file}
    every = (_matching(folder, (kind,)) for kinds in WEIGHTS for kind in kinds)
    return next(filter(None, every), set()) | _matching(folder, OTHERS)


def lacks_tokenizer(folder: Path) -> bool:
    """Return whether a path is a model folder without any tokenizer file.

    Some versions of transformers make a tokenizer without a vocabulary for such a folder.
    """
    if not folder.is_dir():
        return False
    return not any(TOKENIZER_FILE.search(path.name) for path in folder.iterdir())


def file_states(folder: Path, gguf_file: str | None = None) -> FileStates:
    """Return the state of each model file, sorted by name: the cache key of the digest."""
    stats = ((file.name, file.stat()) for file in sorted(model_files(folder, gguf_file)))
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def content_digest(path: Path) -> str:
    """Compute the SHA-256 of a model file; of a config, only of fields that affect results."""
    if path.name == CONFIG:
        return hashlib.sha256(_decisive(path)).hexdigest()
    return sha256(path)


def model_digest(folder: Path, gguf_file: str | None = None) -> str:
    """Compute the SHA-256 of a model's content; copies of a folder have the same digest.

    Weights and tokenizer count byte by byte, the config by its fields that affect results. The
    digest is cached within a process by the files' size and time.

    Args:
        folder: model folder.
        gguf_file: name of a GGUF file in it, which is then the whole model.

    Returns:
        64 hex digits.
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
