"""Cells of a study: one measurement each, named after everything that decides its numbers."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..core.identity import task_by_content


@dataclass(frozen=True)
class StudyCell:
    """Measurement of a plan: a model and the parameters it is measured with.

    Args:
        study: name of the study.
        model: name of the model.
        path: path or hub id of the model.
        params: parameters that differ between the cells of a model, e.g. ``{"task": "…"}``.
        options: options of the study that decide the numbers.
    """

    study: str
    model: str
    path: str
    params: dict[str, Any]
    options: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """Stable name of the cell: equal parameters and options give equal names in any run.

        Files in task names (word lists) count by their content, not their path.
        """
        identity = {
            "study": self.study,
            "params": _by_content(self.params),
            "options": _by_content(self.options),
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        values = "-".join(re.sub(r"[^\w.=-]", "_", str(value)) for value in self.params.values())
        return "-".join(part for part in (self.model, values[:80], digest[:8]) if part)


def _by_content(value: Any) -> Any:
    """Replace file paths in parameters or options by digests of the files' content."""
    if isinstance(value, dict):
        return {name: _by_content(inside) for name, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_by_content(inside) for inside in value]
    return task_by_content(value) if isinstance(value, str) else value
