"""Results in Tables 1 to 4 of the paper, arXiv 2602.16490 (``reference/README.md``)."""

from __future__ import annotations

from pathlib import Path

from .records import Record
from .store import Store


def paper_rows() -> tuple[Record, ...]:
    """Return the paper's reported results as records."""
    return Store(Path(__file__).parent / "reference").read()
