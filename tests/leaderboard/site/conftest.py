"""Chromium for the tests of the page; they are skipped where it or Playwright is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.page import build

from .browsing import Watched
from .site_records import measured, study_of

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("CHROMIUM")
    path = named or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium found: see CONTRIBUTING.md")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def watched(browser: Any) -> Iterator[Watched]:
    """A desktop page; the test fails if anything went wrong on it."""
    found = Watched(browser, viewport={"width": 1280, "height": 900})
    yield found
    found.context.close()
    assert found.wrong == []


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a site with measured and reported results."""
    return build([*measured(), *paper_rows()], tmp_path_factory.mktemp("www") / "site")


@pytest.fixture
def repeats(tmp_path: Path) -> Path:
    """The page of a study of twelve models."""
    [page] = (build(study_of(12), tmp_path / "site").parent / "studies").iterdir()
    return page
