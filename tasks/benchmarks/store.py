"""Results of single tasks on disk, so that a suite goes on where it stopped.

A folder belongs to one model with one set of settings, both in its name as a hash; a task's file
in it also says which data it was. What does not agree is scored again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.strict_json import loads, seal_problem, sealed

VERSION = 1
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.json", "*.model")


@dataclass(frozen=True)
class TaskResult:
    """What a model scored on one task.

    Args:
        value: the mean, from 0 to 1.
        n: questions scored.
        rows, published: of the data set, in the file read and as its authors made it.
        others: lm-eval's further metrics.
        items: of each question its place ``id``, the hash of the document, its ``value``, and
            the answer where the model wrote one.
        schedule: of the layers, if the model was looped.
        notes: number of requests by kind of remark (see :mod:`..notes`).
        told: how it was asked and run, under the names of lm-eval's result files; empty in
            results of the time before it.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    shots: int
    source: str
    fingerprint: str
    rows: int | None = None
    published: int | None = None
    schedule: str | None = None
    seconds: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def partial(self) -> bool:
        """Whether fewer questions were scored than the data set has."""
        return self.rows is not None and self.rows < (self.published or 0)


def digest(key: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def contents_of(folder: Path, only: str | None = None) -> str:
    """A hash of the files of a checkpoint (or of ``only`` one of them)."""
    patterns = (only,) if only else WEIGHTS
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    whole = hashlib.blake2b(digest_size=16)
    for path in files:
        whole.update(path.name.encode() + b"\0")
        with open(path, "rb") as file:
            for block in _blocks(file):
                whole.update(block)
    return whole.hexdigest()


def _blocks(file: Any) -> Iterator[bytes]:
    while block := file.read(1 << 22):
        yield block


class Store:
    """The results of one model with one set of settings.

    Args:
        out: folder for all results.
        model: name, for people.
        key: everything that the numbers depend on, except the data.
    """

    def __init__(self, out: str | Path, model: str, key: Mapping[str, Any]) -> None:
        name = re.sub(r"[^\w.-]+", "-", Path(model).name if "/" in model else model).strip("-.")
        self.key = json.loads(json.dumps(key))
        self.folder = Path(out) / f"suite-{name[:60]}-{digest(self.key)}"

    def load(self, task: str, data: str) -> dict[str, Any] | None:
        """What was saved for ``task``, if it is about ``data`` and whole."""
        try:
            found = loads((self.folder / f"{task}.json").read_bytes())
            if seal_problem(found):
                return None  # damaged: it is measured again
            agrees = found["version"] == VERSION and found["key"] == self.key
            return dict(found["result"]) if agrees and found["data"] == data else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, task: str, data: str, result: Any) -> None:
        """Keep a result (a dataclass)."""
        content = {"version": VERSION, "key": self.key, "data": data, "result": asdict(result)}
        self.write(f"{task}.json", sealed(content))

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a file whole or not at all."""
        path = self.folder / name
        try:
            write_atomically(path, json.dumps(content, ensure_ascii=False).encode())
        except OSError as error:
            raise InputError(f"cannot write {error.filename}: {error.strerror}") from error
        return path
