"""The floors, and the imports of the package's modules."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


FLOORS = {  # folder: folders it may import
    "core": set(),
    "primitives": {"core"},
    "models": {"primitives", "core"},
    "tasks": {"primitives", "core"},
    "leaderboard": {"core"},
    "studies": {"primitives", "models", "tasks", "leaderboard", "core"},
    "api": {"primitives", "models", "tasks", "leaderboard", "studies", "core"},
    "cli": {"primitives", "models", "tasks", "leaderboard", "studies", "api", "core"},
}
PACKAGE = "root"  # folder of the package itself, which holds public names alone


HEAVY = {"torch", "transformers", "datasets", "lm_eval", "pyarrow", "accelerate", "rich"}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[tuple[int, str]]:
    """(relative level, module) of every import in a file."""
    return {(level, module) for level, module, _ in imported_names(path)}


def imported_names(path: Path) -> set[tuple[int, str, str]]:
    """(relative level, module, imported name) of every import in a file, type-only ones too."""
    found: set[tuple[int, str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.level, node.module or "", alias.name) for alias in node.names}
    return found


def import_graph() -> dict[str, set[str]]:
    """Module of ours -> modules of ours that it imports, at any time and for any reason."""
    names: dict[Path, tuple[str, ...]] = {}
    for path in (path for folder in FLOORS for path in modules(folder)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[path] = parts[:-1] if parts[-1] == "__init__" else parts
    known = set(names.values())
    graph: dict[str, set[str]] = {}
    for path, name in names.items():
        package = name if path.name == "__init__.py" else name[:-1]
        targets = graph.setdefault(".".join(name), set())
        for level, module, imported in imported_names(path):
            inside = tuple(module.split(".")) if module else ()
            if level:
                target = package[: len(package) - level + 1] + inside
            elif inside[:1] == ("growloop",):
                target = inside[1:]
            else:
                continue
            target = (*target, imported) if (*target, imported) in known else target
            if target in known and target != name:
                targets.add(".".join(target))
    return graph
