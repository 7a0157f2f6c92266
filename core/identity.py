"""Content identity of files: what a run, a cell or a job read, so that a change is noticed.

Size and time of change are the fast path; a digest is computed only where they differ.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 22


def identify(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Identity of each file, as JSON can hold it.

    Args:
        files: name -> path. The name is what messages and records call the file; the path may be
            another one the next time (another working directory).

    Returns:
        name -> ``{"bytes": int, "mtime_ns": int, "sha256": str}``.

    Raises:
        OSError: a file that cannot be read.

    Example::

        was = identify({"train.jsonl": Path("data/train.jsonl")})
        changed_files({"train.jsonl": Path("data/train.jsonl")}, was)  # []
    """
    return {name: _identity(path) for name, path in files.items()}


def changed_files(
    files: Mapping[str, Path], recorded: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Names of the files whose content is not the recorded one; also those gone or new.

    Args:
        files: name -> path, as for :func:`identify`.
        recorded: a result of :func:`identify`.
    """
    names = sorted(files.keys() | recorded.keys())
    return [name for name in names if not _same(files.get(name), recorded.get(name))]


def sha256(path: Path) -> str:
    """Digest of a file's content; computed again only when its size or time changed."""
    state = path.stat()
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns)


def _identity(path: Path) -> dict[str, Any]:
    state = path.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256(path)}


def _same(path: Path | None, recorded: Mapping[str, Any] | None) -> bool:
    if path is None or recorded is None or not path.is_file():
        return False
    state = path.stat()
    if state.st_size != recorded["bytes"]:
        return False
    return bool(state.st_mtime_ns == recorded["mtime_ns"] or sha256(path) == recorded["sha256"])


@functools.cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()
