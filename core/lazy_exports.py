"""Public names of a package, each imported from its module when it is first used (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Make ``__all__``, ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: ``__name__`` of the package.
        exports: module of the package -> names that it exports.

    >>> names, get, _ = lazy_exports("growloop.core", {"schedule": ["Schedule"]})
    >>> names, get("Schedule").plain(2).layers
    (['Schedule'], (0, 1))
    """
    modules = {name: module for module, names in exports.items() for name in names}
    public = sorted(modules)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{modules[name]}", package), name)

    return public, get, lambda: public
