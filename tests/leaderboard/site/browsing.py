"""Pages in a browser, and whatever went wrong on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Watched:
    """A page, and whatever went wrong on it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file://", "data:")):
            self.wrong.append(request.url)

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri())
        return self.page


def column(page: Any, name: str, table: str = "#board") -> list[str]:
    """The texts of a column of the visible rows."""
    place = page.locator(f"{table} thead th").all_inner_texts()
    index = next(i for i, text in enumerate(place) if text.startswith(name))
    rows = page.locator(f"{table} .row:visible").all()
    return [row.locator("th, td").nth(index).inner_text().strip() for row in rows]


def rest_on(page: Any, spot: Any) -> None:
    """Move the mouse to the middle of a point, whatever is drawn over it."""
    spot.scroll_into_view_if_needed()
    before, box = None, spot.bounding_box()
    while box != before:  # until the page, laid out as it comes into view, stands still
        page.wait_for_timeout(100)
        before, box = box, spot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def spot_of(page: Any, chart: int, name: str) -> Any:
    """The point of a model in a chart."""
    return page.locator(".chart").nth(chart).locator(f".point[aria-label^='{name},'] .dot")


def contrast(page: Any, selector: str) -> float:
    """Of a text and the paper behind it (WCAG)."""
    colours = page.evaluate(
        """selector => [
            getComputedStyle(document.querySelector('main ' + selector)
                ?? document.querySelector(selector)).color,
            getComputedStyle(document.body).backgroundColor,
        ].map(text => text.match(/[0-9.]+/g).slice(0, 3).map(Number))""",
        selector,
    )
    shades = []
    for colour in colours:
        parts = [part / 255 for part in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        shades.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    low, high = sorted(shades)
    return (high + 0.05) / (low + 0.05)
