"""Hooks of the documentation site: generated pages, and links that lead out of ``docs/``.

MkDocs calls the functions ``on_*``. Nothing is written to ``docs/``: the generated pages exist in
memory alone. A navigation entry that ends in ``/`` stands for all generated pages of that folder.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import commands
import fields
import notebooks
import packages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FROM_ROOT = {  # page of the site -> file at the root of the repository
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
INSTEAD = {"leaderboard/record.schema.json": "reference/record.md"}
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)]*)?\)")
FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def generated_pages() -> dict[str, str]:
    """Return path below ``docs/`` -> Markdown, of the reference and the tutorials."""
    return {
        **commands.pages(),
        **fields.pages(),
        **packages.pages(),
        **notebooks.pages(ROOT / "docs" / "notebooks"),
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    config.extra["generated"] = generated_pages()
    config.nav = _filled(config.nav, list(config.extra["generated"]))
    return config


def _filled(nav: Any, pages: list[str]) -> Any:
    """Return the navigation with each ``folder/`` replaced by the generated pages in the folder."""
    if isinstance(nav, dict):
        return {title: _filled(entry, pages) for title, entry in nav.items()}
    if isinstance(nav, list):
        entries: list[Any] = []
        for entry in nav:
            found = _filled(entry, pages)
            entries += found if isinstance(entry, str) and isinstance(found, list) else [found]
        return entries
    if isinstance(nav, str) and nav.endswith("/"):
        return [page for page in pages if page.startswith(nav)]
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, pictures of notebooks, and the pages from the repository's root."""
    texts: dict[str, str | bytes] = dict(config.extra["generated"])
    texts |= notebooks.pictures(ROOT / "docs" / "notebooks")
    for page, name in FROM_ROOT.items():
        if (ROOT / name).exists():
            texts[page] = (ROOT / name).read_text(encoding="utf-8")
    for page, content in texts.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to pages of the site; what the site does not have stays as text."""
    source = FROM_ROOT.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replaced(link: re.Match[str]) -> str:
        target = link["target"]
        if ":" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = next((uri for uri, name in FROM_ROOT.items() if name == path), None)
        inside = inside or INSTEAD.get(path) or path.removeprefix("docs/")
        found = files.get_file_from_path(inside)
        absent = found is None or found.inclusion is InclusionLevel.EXCLUDED
        if absent and (ROOT / path).exists():
            return str(link["text"])
        here = posixpath.dirname(page.file.src_uri)
        shown = posixpath.relpath(inside, here or ".")
        return f"{link['picture']}[{link['text']}]({shown}{link['anchor'] or ''})"

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)
