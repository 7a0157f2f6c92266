"""Store of task results on disk, so that a suite resumes where it stopped.

A folder belongs to one model with one set of settings, both hashed in its name. A task's file also
identifies its data. Results that do not match are computed again.
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
    """Result of a model on one task.

    Args:
        value: mean of the metric, from 0 to 1.
        n: number of questions scored.
        rows, published: rows of the file that was read, and of the data set as published.
        schedule: schedule of the layers, if the model was looped.
        told: run metadata: prompting, options and device, under the names of lm-eval's result
            files; empty in results of older versions.
        others: lm-eval's further metrics.
        items: per question ``id``, ``hash`` of the document, ``value``, and the generated
            ``answer`` if any.
        notes: kind of remark -> number of requests (see :mod:`..notes`).
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
        """Whether the file has fewer rows than the data set."""
        return self.rows is not None and self.rows < (self.published or 0)


def digest(key: Any) -> str:
    """Compute a short hash of a JSON-able value."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def contents_of(folder: Path, only: str | None = None) -> str:
    """Compute a hash of the files of a checkpoint (or of ``only`` one of them)."""
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
    """Results of one model with one set of settings.

    Args:
        out: folder for all results.
        model: name of the model, for the folder's name.
        key: everything that the numbers depend on, except the data.
    """

    def __init__(self, out: str | Path, model: str, key: Mapping[str, Any]) -> None:
        name = re.sub(r"[^\w.-]+", "-", Path(model).name if "/" in model else model).strip("-.")
        self.key = json.loads(json.dumps(key))
        self.folder = Path(out) / f"suite-{name[:60]}-{digest(self.key)}"

    def load(self, task: str, data: str) -> dict[str, Any] | None:
        """Load the result of a task; None if there is none for this data, or it is damaged."""
        try:
            saved = loads((self.folder / f"{task}.json").read_bytes())
            if seal_problem(saved):
                return None  # damaged: it is measured again
            agrees = saved["version"] == VERSION and saved["key"] == self.key
            return dict(saved["result"]) if agrees and saved["data"] == data else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, task: str, data: str, result: Any) -> None:
        """Save a result (a dataclass)."""
        content = {"version": VERSION, "key": self.key, "data": data, "result": asdict(result)}
        self.write(f"{task}.json", sealed(content))

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a file atomically and return its path."""
        path = self.folder / name
        try:
            write_atomically(path, json.dumps(content, ensure_ascii=False).encode())
        except OSError as error:
            raise InputError(f"cannot write {error.filename}: {error.strerror}") from error
        return path
