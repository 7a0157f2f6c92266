"""The page in a browser; its tests are skipped where Chromium or Playwright is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.page import build

from .browsing import Watched
from .site_records import measured, study_of


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
