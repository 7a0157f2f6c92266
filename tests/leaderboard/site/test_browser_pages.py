"""Every page of the site in a browser: links, width, colours, print, and hostile records.

Skipped where Chromium or Playwright is missing; CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from growloop.leaderboard.site.page import build

from ..making import poisoned
from ..payloads import MARKUP
from .browsing import Watched, contrast
from .site_records import measured

pytestmark = pytest.mark.slow


def test_a_model_has_a_page_with_its_schedule_growth_results_and_commands(
    watched: Watched, site: Path
) -> None:
    page = watched.open(site)
    page.locator("#board").get_by_role("link", name="tiny-lidas").click()
    assert page.locator("h1").inner_text().strip() == "tiny-lidas"
    assert page.get_by_role("img", name="Schedule").locator("rect").count() == 6
    assert page.get_by_role("img", name="Growth").locator("rect.loop-1").count() == 2
    assert "growloop eval --model tiny-lidas" in page.locator("pre").inner_text()
    page.locator("details", has_text="in-context").locator("summary").click()
    page.get_by_role("link", name="Study in-context").click()
    assert page.locator("h1").inner_text() == "Study: in-context"
    assert page.locator(".curves polyline").count() == 5
    assert page.locator(".curves .spot").count() == 15
    page.get_by_role("button", name="examples").click()
    assert page.locator("tbody tr td:nth-child(3)").all_inner_texts() == sorted(
        ["1", "8", "64"] * 5, key=int
    )
    page.get_by_role("link", name="Claims").click()
    assert page.locator(".claim").count() >= 12


def test_every_link_opens_without_error_or_network(watched: Watched, site: Path) -> None:
    seen: set[str] = set()
    rest = [site.as_uri()]
    while rest:
        url = rest.pop().split("#")[0]
        if url in seen or not url.startswith("file:") or not url.endswith(".html"):
            continue
        seen.add(url)
        page = watched.page
        page.goto(url)
        assert page.locator("h1").count() == 1, url
        rest += page.eval_on_selector_all("a", "all => all.map(a => a.href.baseVal ?? a.href)")
    assert len(seen) == len(list(site.parent.rglob("*.html")))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_scrolls_sideways_and_texts_can_be_read(
    browser: Any, site: Path, width: int, scheme: str
) -> None:
    found = Watched(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
    models = sorted((site.parent / "models").glob("*lidas-1-7b*")) + sorted(
        (site.parent / "models").glob("tiny-loop*")
    )
    studies = list((site.parent / "studies").iterdir())
    for path in (
        site,
        *(site.with_name(f"{n}.html") for n in ("claims", "methods")),
        models[0],
        models[-1],
        *studies,
    ):
        page = found.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        for selector in ("body", ".note", "a", "th", "td"):
            if page.locator(selector).count():
                assert contrast(page, selector) >= 4.5, (path, selector)
    found.context.close()
    assert found.wrong == []


def test_hostile_records_do_nothing(browser: Any, tmp_path: Path) -> None:
    records = [record for text in MARKUP for record in poisoned(text)]
    index = build([*records, *measured()], tmp_path / "site")
    found = Watched(browser, viewport={"width": 390, "height": 800})
    for path in sorted(index.parent.rglob("*.html")):
        page = found.open(path)
        assert page.evaluate("typeof window.hacked") == "undefined", path
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page = found.open(index)
    page.locator("#task").select_option(label="all tasks")
    names = page.locator("#board .row th").all_inner_texts()
    assert any("<script>window.hacked = 1" in name for name in names)
    assert any("{{ 7 * 7 }}" in name for name in names)
    for option in page.locator("#task option").all()[:-1]:
        page.locator("#task").select_option(option.get_attribute("value"))
        if page.locator(".point").count():
            page.locator(".point").first.focus()
    assert page.evaluate("typeof window.hacked") == "undefined"
    found.context.close()
    assert found.wrong == []


def test_it_can_be_read_without_scripts(browser: Any, site: Path) -> None:
    found = Watched(browser, java_script_enabled=False)
    page = found.open(site)
    assert page.locator(".board .row:visible").count() == 172
    found.context.close()


def test_nothing_is_black_on_dark(browser: Any, site: Path, repeats: Path) -> None:
    found = Watched(browser, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    models = sorted((site.parent / "models").glob("tiny-lidas*"))
    for path in (site, site.with_name("claims.html"), repeats, *models):
        page = found.open(path)
        black = page.evaluate(
            """() => [...document.querySelectorAll('svg *')].flatMap(one => {
                if (one.matches('a, g, svg, desc, title')) return [];
                const style = getComputedStyle(one);
                const paper = getComputedStyle(document.body).backgroundColor;
                const drawn = one.matches('line') ? [style.stroke] : [style.fill, style.stroke];
                return drawn.filter(colour => {
                    const parts = (colour.match(/[0-9.]+/g) ?? []).map(Number);
                    const dark = Math.max(...parts.slice(0, 3)) < 60;
                    return parts.length >= 3 && parts[3] !== 0 && dark && colour !== paper;
                }).map(colour => one.outerHTML.slice(0, 90) + colour);
            })"""
        )
        assert black == [], path
    found.context.close()
    assert found.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_has_task_and_headings_and_no_controls(browser: Any, site: Path, scheme: str) -> None:
    found = Watched(browser, viewport={"width": 794, "height": 1123}, color_scheme=scheme)
    page = found.open(site)
    page.emulate_media(media="print", color_scheme=scheme)
    assert page.locator("h1").is_visible()
    assert page.locator("h2:visible").count() >= 4
    assert page.get_by_text("Task: reasoning_primitives · 5 shots").is_visible()
    assert page.locator("#board thead").first.is_visible()
    for selector in ("nav", "form", "#board .more"):
        assert page.locator(f"{selector}:visible").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    paper, ink = page.evaluate(
        """() => [getComputedStyle(document.documentElement).backgroundColor,
                  getComputedStyle(document.body).color]"""
    )
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 200, (paper, ink)  # dark on paper
    found.context.close()
    assert found.wrong == []


def test_at_200_percent_no_page_scrolls_sideways(browser: Any, site: Path) -> None:
    found = Watched(browser, viewport={"width": 640, "height": 450}, device_scale_factor=2)
    for path in sorted(site.parent.glob("*.html")):
        page = found.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, path
    found.context.close()
    assert found.wrong == []
