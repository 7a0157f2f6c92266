"""Wait for what a command does, and compare what it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def kept(folder: Path) -> dict[str, bytes]:
    """Everything below a folder but the site, which is built anew."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "site" not in path.parts and path.suffix != ".log"
    }
