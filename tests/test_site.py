"""The documentation site: it builds strictly, is complete, searchable, and loads nothing."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from growloop.cli.main import COMMANDS
from growloop.studies import STUDIES

ROOT = Path(__file__).parent.parent
GENERATORS = ROOT / "docs" / "generators"
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}

pytestmark = pytest.mark.slow


class Elements(HTMLParser):
    """Start tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a warning fails the build."""
    for module in ("mkdocs", "material", "mkdocstrings", "nbconvert"):
        pytest.importorskip(module, reason="pip install 'growloop[docs]' brings it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def pages(site: Path) -> dict[str, str]:
    return {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}


def test_every_command_study_and_field_has_its_place(site: Path) -> None:
    there = pages(site)
    assert {f"reference/commands/{name}/index.html" for name in COMMANDS} <= there.keys()
    study = there["reference/commands/study/index.html"]
    assert all(f'id="{name}"' in study for name in STUDIES)
    assert 'id="growloop.models.loop"' in there["reference/python/growloop.models/index.html"]
    assert "micro_batch_size" in there["reference/run-file/index.html"]


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for name, text in pages(site).items():
        loaded = [
            attributes.get(LOADING[tag]) or ""
            for tag, attributes in Elements(text).found
            if tag in LOADING and attributes.get("rel") != "canonical"
        ]
        assert loaded, name
        assert not [target for target in loaded if re.match(r"(\w+:)?//", target)], name
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", style.read_text()), style.name


def test_links_and_anchors_lead_somewhere(site: Path) -> None:
    there = pages(site)
    anchors = {
        name: {attributes.get("id") for _, attributes in Elements(text).found}
        for name, text in there.items()
    }
    for name, text in there.items():
        if name == "404.html":
            continue
        for tag, attributes in Elements(text).found:
            target = attributes.get("href") or ""
            if tag != "a" or re.match(r"\w+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (site / name).parent / path if path else site / name
            file = file / "index.html" if file.is_dir() else file
            assert file.is_file(), f"{name}: {target}"
            key = str(Path(os.path.normpath(file)).relative_to(site))
            if anchor and key in anchors:
                assert anchor in anchors[key], f"{name}: {target}"


def test_the_search_index_has_pages_of_each_kind(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    entries = {entry["location"]: entry["text"] for entry in index["docs"]}
    assert len(entries) > 500
    for location in ("scoring/", "reference/commands/eval/", "reference/run-file/#optimizer"):
        assert entries[location], location


@pytest.mark.parametrize("name", sorted(path.stem for path in GENERATORS.glob("*.py")))
def test_examples_of_the_generators_are_true(name: str) -> None:
    pytest.importorskip("mkdocs", reason="pip install 'growloop[docs]' brings it")
    subprocess.run([sys.executable, "-m", "doctest", f"{name}.py"], cwd=GENERATORS, check=True)


def test_every_field_of_a_run_file_and_a_record_has_a_meaning() -> None:
    pytest.importorskip("griffe", reason="pip install 'growloop[docs]' brings it")
    code = (
        "import fields\nfrom docstrings import parsed\nimport json\n"
        "for schema in (fields.Run.model_json_schema(), json.loads(fields.PATH.read_text())):\n"
        "    for part in (schema, *schema['$defs'].values()):\n"
        "        _, meanings = parsed(part.get('description', ''))\n"
        "        lacking = set(part['properties']) - set(meanings)\n"
        "        assert not lacking, lacking\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=GENERATORS, check=True)


def test_pages_have_the_same_parts_on_github_and_on_the_site() -> None:
    markdown = pytest.importorskip("markdown")
    from markdown_it import MarkdownIt

    def parts(html: str) -> Counter[str]:
        return Counter(tag for tag, _ in Elements(html).found if tag not in {"p", "div", "br"})

    github = MarkdownIt("gfm-like", {"linkify": False})
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("docs/results/*.md"),
    ]:
        text = path.read_text(encoding="utf-8")
        ours = markdown.markdown(
            text, extensions=["tables", "fenced_code", "attr_list", "md_in_html"]
        )
        assert parts(ours) == parts(github.render(text)), path.name


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# Five minutes"},
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "source": "draw()",
            "outputs": [
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {
                        "text/html": "<script src='https://elsewhere'></script>",
                        "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>",
                    },
                }
            ],
        },
    ],
    "metadata": {"language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 4,
}


def test_a_notebook_becomes_a_page_with_its_pictures_and_without_scripts(tmp_path: Path) -> None:
    pytest.importorskip("nbconvert")
    (tmp_path / "five-minutes.ipynb").write_text(json.dumps(NOTEBOOK))
    code = (
        "import json, sys, notebooks, pathlib\nfolder = pathlib.Path(sys.argv[1])\n"
        "files = notebooks.pictures(folder)\n"
        "print(json.dumps([notebooks.pages(folder), {n: str(d) for n, d in files.items()}]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    out = subprocess.run(command, cwd=GENERATORS, check=True, capture_output=True, text=True).stdout
    found, pictures = json.loads(out)
    text = found["tutorials/five-minutes.md"]
    assert text.startswith("# Five minutes")
    assert "```python\ndraw()\n```" in text
    assert "script" not in text
    [name] = pictures
    assert f"({name.removeprefix('tutorials/')})" in text
    assert "<svg" in pictures[name]


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Serve the site; return its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_search_finds_an_option_and_asks_no_other_site(address: str, browser: Any) -> None:
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.fill("input.md-search__input", "micro_batch_size")
    page.wait_for_selector(".md-search-result__item a")
    targets = [
        link.get_attribute("href") for link in page.query_selector_all(".md-search-result__item a")
    ]
    page.close()
    assert any("reference/run-file" in target for target in targets), targets
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
