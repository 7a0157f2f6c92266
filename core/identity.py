"""Content identity of input files, to detect changes between runs.

Size and modification time are compared first; a digest is computed only where they differ.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHUNK = 1 << 22
Identity = dict[str, Any]
"""``{"bytes": int, "mtime_ns": int, "sha256": str}``, as JSON can hold it."""


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, cached by path, size and modification time."""
    state = path.stat()
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns)


def identify(
    files: Mapping[str, Path],
    known: Mapping[str, Mapping[str, Any]] | None = None,
    digest: Callable[[Path], str] = sha256,
) -> dict[str, Identity]:
    """Compute the identity of each file.

    Args:
        files: name -> path. Messages and records use the name; the path may differ from run to
            run (another working directory).
        known: an earlier result; files of the same size and time are not read again.
        digest: path -> digest, for files of which not every byte counts.

    Returns:
        name -> ``{"bytes": int, "mtime_ns": int, "sha256": str}``.

    Raises:
        OSError: a file that cannot be read.

    Example::

        was = identify({"train.jsonl": Path("data/train.jsonl")})
        changed_files({"train.jsonl": Path("data/train.jsonl")}, was)  # []
    """
    before = known or {}
    return {name: _identity(path, before.get(name), digest) for name, path in files.items()}


def changed_files(
    files: Mapping[str, Path],
    recorded: Mapping[str, Mapping[str, Any]],
    digest: Callable[[Path], str] = sha256,
) -> list[str]:
    """Return the names of files whose content is not the recorded one, or that are gone or new.

    Args:
        files: name -> path, as for :func:`identify`.
        recorded: a result of :func:`identify`, with the same ``digest``.
    """
    there = {name: path for name, path in files.items() if path.is_file()}
    return differing(identify(there, recorded, digest), recorded)


def differing(
    current: Mapping[str, Mapping[str, Any]], recorded: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the names whose contents differ between two results of :func:`identify`.

    >>> differing({"a": {"sha256": "0"}, "b": {"sha256": "1"}}, {"a": {"sha256": "0"}})
    ['b']
    """

    def content(identities: Mapping[str, Mapping[str, Any]], name: str) -> Any:
        return identities.get(name, {}).get("sha256")

    names = sorted(current.keys() | recorded.keys())
    return [name for name in names if content(current, name) != content(recorded, name)]


def listed(names: Sequence[str], most: int = 3) -> str:
    """Format names for a message.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def files_of_task(task: str) -> dict[str, Path]:
    """Return the files in a task's name (a word list, a YAML file), as typed -> path.

    >>> files_of_task("copying:words=no_such_file.txt:segment_length=4")
    {}
    """
    named = [value for _, equals, value in (p.partition("=") for p in task.split(":")) if equals]
    named += [task] if task.endswith((".yaml", ".yml")) else []
    return {name: Path(name) for name in named if Path(name).is_file()}


def task_by_content(task: str) -> str:
    """Replace the files in a task's name by name and digest: ``copying:words=w.txt@0f3a…``.

    >>> task_by_content("copying:words=real")
    'copying:words=real'
    """
    for typed, path in files_of_task(task).items():
        task = task.replace(typed, f"{path.name}@{sha256(path)[:12]}")
    return task


def _identity(
    path: Path, known: Mapping[str, Any] | None, digest: Callable[[Path], str]
) -> Identity:
    state = path.stat()
    fields = {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
    if known is not None and all(known.get(name) == value for name, value in fields.items()):
        return dict(known)
    return fields | {"sha256": digest(path)}


@functools.cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()
