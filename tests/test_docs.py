"""The examples in the README and the docs run."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from growloop.cli import main
from growloop.core import plugins

from .support.imports import import_graph

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "results").glob("*.md")),
]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NEEDS_A_MODEL = re.compile(r"growloop (eval|inspect|loop|grow|export)|lm_eval ")


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(found[2], id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, found in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")))
        if found[1] == language
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("docs_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    try:
        exec(code, module.__dict__)
    finally:
        plugins.forget(module.__name__)


@pytest.mark.parametrize("text", blocks("bash"))
def test_growloop_commands_run(text: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.j2").write_text(
        "{% for line in lines %}{{ line.name }}: {{ line.value }}\n{% endfor %}{{ query }}?"
    )
    for line in text.replace("\\\n", " ").splitlines():
        command = line.split("   #")[0].strip()
        if not command.startswith("growloop ") or NEEDS_A_MODEL.search(command):
            continue
        if "|" in command:
            command = command.split("|")[0]
        result = CliRunner().invoke(main, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"


@pytest.mark.parametrize("module", sorted(import_graph().keys() - {"cli.__main__"}))
def test_docstring_examples_are_true(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"growloop.{module}"))
    assert failed == 0


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_anchors_in_links_are_headings() -> None:
    for page in PAGES:
        for target, anchor in re.findall(
            r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")
        ):
            path = page.parent / target if target else page
            assert anchor in anchors(path), f"{page.name}: {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes of the page's headings: lower case, hyphens for spaces."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_holds_exactly_two_setup_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("python -m venv") == 2


def test_every_help_page_is_shown_in_the_docs_by_name() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in main.list_commands(None):  # type: ignore[arg-type]
        assert f"growloop {command}" in text


def test_files_that_pages_name_are_there() -> None:
    for page in PAGES:
        for file in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", page.read_text(encoding="utf-8")):
            assert (ROOT / file).is_file(), f"{page.name}: {file}"
