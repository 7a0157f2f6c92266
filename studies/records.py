"""Records of study cells: one JSON file a cell, written whole."""

from __future__ import annotations

import json
from pathlib import Path

from ..core.errors import InputError
from .study import Cell, Record

PARTS = {"study", "cell", "model", "rows", "data", "command"}
NAMED = {"id", "model", "path", "params", "options"}
"""What a record has, and what of its cell."""


def record_path(cell: Cell, out: str | Path) -> Path:
    """Where a cell's record is."""
    return Path(out) / "records" / cell.study / f"{cell.id}.json"


def read_record(path: Path) -> Record:
    """A record of a cell.

    Raises:
        InputError: a file that is none.
    """
    try:
        found: Record = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != "growloop study" or not found.keys() >= PARTS:
            raise KeyError
        rows = [row for row in found["rows"] if isinstance(row, dict)]
        if not found["cell"].keys() >= NAMED or len(rows) < len(found["rows"]):
            raise KeyError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no record of a study: move it away") from error
    return found
