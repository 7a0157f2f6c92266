"""Reference of the Python API: a page a package, with the names in its ``__all__``."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

FOLDER = "reference/python"
PACKAGES = (
    "growloop",
    "growloop.primitives",
    "growloop.models",
    "growloop.models.diagnostics",
    "growloop.tasks",
    "growloop.tasks.benchmarks",
    "growloop.studies",
    "growloop.studies.scan",
    "growloop.leaderboard",
)


def pages() -> dict[str, str]:
    """Return path -> Markdown of all pages."""
    modules = {name: importlib.import_module(name) for name in PACKAGES}
    public = {name: module for name, module in modules.items() if hasattr(module, "__all__")}
    return {f"{FOLDER}/{name}.md": _page(module, public) for name, module in public.items()}


def _page(package: ModuleType, public: dict[str, ModuleType]) -> str:
    """Return the page of a package; mkdocstrings fills in each name after ``:::``.

    What the root package takes from another is documented there, and linked here.
    """
    lines = [f"# {package.__name__}", "", inspect.cleandoc(package.__doc__ or "").split("\n\n")[0]]
    names = [name for name in package.__all__ if not inspect.ismodule(getattr(package, name))]
    names = sorted(names, key=lambda name: (_kind(package, name), name.lower()))
    elsewhere = {
        name: f"{other}.{name}"
        for name in names
        for other, module in public.items()
        if package.__name__ == PACKAGES[0] != other and name in module.__all__
        if getattr(module, name) is getattr(package, name)
    }
    if elsewhere:
        lines += ["", "Names of other packages:", ""]
        lines += [f"- [`{place}`][{place}]" for place in elsewhere.values()]
    kind = -1
    for name in (name for name in names if name not in elsewhere):
        if _kind(package, name) != kind:
            kind = _kind(package, name)
            lines += ["", f"## {('Functions', 'Classes', 'Constants')[kind]}"]
        lines += ["", f"::: {package.__name__}.{name}"]
    return "\n".join(lines) + "\n"


def _kind(package: ModuleType, name: str) -> int:
    """Return 0 for a function, 1 for a class, 2 for anything else."""
    value = getattr(package, name)
    return 1 if inspect.isclass(value) else 0 if callable(value) else 2
