"""The rows of the paper's tables 1 to 4: reported, not measured (``reference/README.md``)."""

from __future__ import annotations

from pathlib import Path

from .records import Record
from .store import Store


def paper_rows() -> tuple[Record, ...]:
    """All of them."""
    return Store(Path(__file__).parent / "reference").read()
