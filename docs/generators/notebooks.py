"""Tutorials: the notebooks of ``docs/notebooks/`` as pages, with the outputs that they store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = "tutorials"
PICTURES = "image/svg+xml", "image/png"
"""Outputs that are preferred. HTML comes last, as scripts in it may load from the network."""


def pages(folder: Path) -> dict[str, str]:
    """Return path -> Markdown, of all notebooks in a folder."""
    return {page: text for page, (text, _) in _converted(folder).items()}


def pictures(folder: Path) -> dict[str, bytes]:
    """Return path -> content, of the pictures in the notebooks' outputs."""
    return {name: data for _, files in _converted(folder).values() for name, data in files.items()}


def _converted(folder: Path) -> dict[str, tuple[str, dict[str, bytes]]]:
    """Return path of the page -> (Markdown, path -> picture)."""
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        return {}
    from nbconvert import MarkdownExporter

    found = {}
    for path in paths:
        exporter = MarkdownExporter(
            config={
                "NbConvertBase": {
                    "display_data_priority": [*PICTURES, "text/markdown", "text/html", "text/plain"]
                }
            }
        )
        resources: dict[str, Any] = {"output_files_dir": f"{path.stem}_files"}
        text, resources = exporter.from_filename(str(path), resources=resources)
        files = {f"{FOLDER}/{name}": data for name, data in resources.get("outputs", {}).items()}
        found[f"{FOLDER}/{path.stem}.md"] = text, files
    return found
