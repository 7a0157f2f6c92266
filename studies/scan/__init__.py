"""Search for the layers worth repeating, skipping or swapping (``growloop scan``).

Candidates race on validation items; the winner is reported on test items that chose nothing. Names
are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .result import ScanResult as ScanResult
    from .search import scan as scan
    from .settings import Settings as Settings

EXPORTS = {"ScanResult": "result", "Settings": "settings", "scan": "search"}
__all__ = sorted(EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
