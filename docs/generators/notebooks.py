"""Tutorials: the notebooks of ``docs/notebooks/`` as pages.

Stored outputs are shown. With ``RUN_NOTEBOOKS=1`` in the environment the notebooks run first.
"""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import Any

FOLDER = "tutorials"
TYPES = "image/svg+xml", "image/png", "text/markdown", "text/html", "text/plain"
"""Types of outputs, the preferred ones first."""
SECONDS = 1800
STATIC_CHARTS = "import altair\naltair.renderers.enable('svg')"
"""First cell of a notebook that runs: charts become pictures, which need no script."""

Converted = dict[str, tuple[str, dict[str, bytes]]]


def pages(folder: Path) -> dict[str, str]:
    """Return path -> Markdown, of all notebooks in a folder."""
    return {page: text for page, (text, _) in _converted(*_state(folder)).items()}


def pictures(folder: Path) -> dict[str, bytes]:
    """Return path -> content, of the pictures in the notebooks' outputs."""
    converted = _converted(*_state(folder)).values()
    return {name: data for _, files in converted for name, data in files.items()}


def _state(folder: Path) -> list[tuple[Path, int]]:
    """List notebooks and when they were changed."""
    return [(path, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.ipynb"))]


@functools.cache
def _converted(*notebooks: tuple[Path, int]) -> Converted:
    """Return path of the page -> (Markdown, path -> picture)."""
    found: Converted = {}
    for path, _ in notebooks:
        import nbformat
        from nbconvert import MarkdownExporter

        notebook = nbformat.read(path, as_version=4)
        if os.environ.get("RUN_NOTEBOOKS") == "1":
            _run(notebook)
        _drop_scripts(notebook)
        exporter = MarkdownExporter(config={"NbConvertBase": {"display_data_priority": [*TYPES]}})
        resources: dict[str, Any] = {"output_files_dir": f"{path.stem}_files"}
        text, resources = exporter.from_notebook_node(notebook, resources=resources)
        files = {f"{FOLDER}/{name}": data for name, data in resources.get("outputs", {}).items()}
        found[f"{FOLDER}/{path.stem}.md"] = text, files
    return found


def _run(notebook: Any) -> None:
    """Run a notebook in an empty folder; an error in a cell is an error here."""
    import nbformat
    from nbclient import NotebookClient

    notebook.cells.insert(0, nbformat.v4.new_code_cell(STATIC_CHARTS))
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, SECONDS, kernel_name="python3", resources=resources).execute()
    del notebook.cells[0]


def _drop_scripts(notebook: Any) -> None:
    """Remove HTML with scripts from the outputs: it may load from other sites."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "<script" in "".join(output.get("data", {}).get("text/html", "")):
                del output["data"]["text/html"]
