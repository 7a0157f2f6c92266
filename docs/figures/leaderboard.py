"""leaderboard.png: the first page, built from records/, as Chromium shows it.

Run from the top of the repository: python docs/figures/leaderboard.py (needs Playwright, and the
browser that tests/install_browser.sh brings).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from growloop.leaderboard import Store
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.page import build
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
FIGURE = Path(__file__).with_suffix(".png")


def main() -> None:
    """Build the page and take its picture."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        records = [*Store("records").read(), *paper_rows()]
        index = build(records, Path(folder) / "site", source="records")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 1960})
        page.goto(index.as_uri())
        page.screenshot(path=FIGURE)
        browser.close()


if __name__ == "__main__":
    main()
