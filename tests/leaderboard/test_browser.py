"""The site in a real browser: Chromium without a window, driven by Playwright.

Skipped where either is missing; CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from growloop.leaderboard import Cost, Growth, Model, Record, Task
from growloop.leaderboard.page import build
from growloop.leaderboard.paper import paper_rows

from .payloads import MARKUP
from .test_page import poisoned

SUITE = Task(
    name="reasoning_primitives", version="1", fingerprint="ab", shots=5, split="test", chance=0.16
)
NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def measured() -> list[Record]:
    """Five models on the suite, and a study."""
    found = []
    for place, (name, family, schedule, value) in enumerate(
        [
            ("tiny-standard", "standard", "6", 0.60),
            ("tiny-loop", "looped", "3x2", 0.80),
            ("tiny-loop-middle", "looped", "1-2x2-1", 0.70),
            ("tiny-midas", "grown", "6", 0.30),
            ("tiny-lidas", "grown", "6", 0.45),
        ]
    ):
        growth = (Growth(operator="lidas", before=4, after=6, sources="1-2x2-1"),)
        model = Model(
            name=name,
            family=family,  # type: ignore[arg-type]
            size="tiny",
            schedule=schedule,
            growth=growth if family == "grown" else (),
            training_flops=1e14 * (0.7 if family == "grown" else 1),
        )
        cost = Cost(unique_parameters=200_000 + 50_000 * place, inference_flops=4e6)
        command = f"growloop eval --model {name}"
        found.append(
            Record(
                model=model, task=SUITE, value=value, n=5000, stderr=0.01, cost=cost,
                command=command,
            )
        )  # fmt: skip
        found += [
            Record(
                model=model, task=SUITE, value=value / 2 + examples / 1000, n=5000, stderr=0.01,
                study="in-context", conditions={"examples": examples},
            )
            for examples in (1, 8, 64)
        ]  # fmt: skip
    return found


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a site with measured and reported results."""
    return build([*measured(), *paper_rows()], tmp_path_factory.mktemp("www") / "site")


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


@pytest.fixture
def watched(browser: Any) -> Iterator[Watched]:
    """A desktop page; the test fails if anything went wrong on it."""
    found = Watched(browser, viewport={"width": 1280, "height": 900})
    yield found
    found.context.close()
    assert found.wrong == []


def column(page: Any, name: str) -> list[str]:
    """The texts of a column of the visible rows."""
    place = page.locator("#board thead th").all_inner_texts()
    index = next(i for i, text in enumerate(place) if text.startswith(name))
    rows = page.locator("#board tbody tr:visible").all()
    return [row.locator("th, td").nth(index).inner_text().strip() for row in rows]


def test_the_first_page_shows_the_measured_suite_beside_the_papers_rows(
    watched: Watched, site: Path
) -> None:
    page = watched.open(site)
    assert page.locator("#task option:checked").inner_text().startswith("reasoning_primitives")
    assert len(column(page, "Model")) == 5 + 31
    page.get_by_label("the paper’s rows").uncheck()
    assert column(page, "Model")[0] == "tiny-loop"
    assert page.locator("#status").inner_text() == "5 of 172 results"


def test_columns_sort_by_mouse_and_keyboard_and_say_so(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    header = page.locator("#board th", has_text="Score")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(page, "Score")]
    assert values == sorted(values, reverse=True)
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(page, "Score")] == sorted(values)
    training = page.locator("#board th", has_text="Training")
    training.get_by_role("button").click()
    assert header.get_attribute("aria-sort") is None
    assert training.get_attribute("aria-sort") == "descending"
    page.locator("#board th", has_text="Model").get_by_role("button").click()
    names = [name.lower() for name in column(page, "Model")]
    assert names == sorted(names)


def test_filters_narrow_table_and_charts_together(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    page.get_by_label("the paper’s rows").uncheck()
    page.get_by_label("looped", exact=True).uncheck()
    assert set(column(page, "Model")) == {"tiny-standard", "tiny-midas", "tiny-lidas"}
    assert page.locator(".chart").nth(0).locator(".point").count() == 3
    page.get_by_label("Search").fill("LIDAS")
    assert column(page, "Model") == ["tiny-lidas"]
    page.get_by_label("Search").fill("nothing like this")
    assert column(page, "Model") == []
    assert "No model shown" in page.locator(".chart").nth(0).inner_text()
    page.get_by_label("Search").fill("")
    page.locator("#task").select_option(label="all tasks")
    assert len(column(page, "Model")) > 100
    assert "Choose one task" in page.locator(".chart").nth(1).inner_text()
    page.get_by_label("Size").select_option("360M")
    assert not [name for name in column(page, "Model") if "360M" not in name]


def test_charts_tell_points_to_mouse_keyboard_and_screen_reader(
    watched: Watched, site: Path
) -> None:
    page = watched.open(site)
    page.get_by_label("the paper’s rows").uncheck()
    chart = page.locator(".chart").nth(0)
    told = chart.locator("svg").get_attribute("aria-label")
    assert "Pareto front: tiny-standard 0.600 at 200 k; tiny-loop 0.800 at 250 k." in told
    points = chart.locator(".point")
    assert points.count() == 5
    tip = page.locator("#tip")
    assert not tip.is_visible()
    points.nth(0).locator(".dot").hover()
    assert tip.is_visible()
    assert tip.inner_text().startswith("tiny-loop\n0.800 [0.780, 0.820] at 250 k")
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    points.nth(1).focus()
    assert "tiny-loop-middle" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    assert points.nth(1).get_attribute("aria-label").startswith("tiny-loop-middle, 0.700")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/tiny-loop-middle-*.html")


def test_a_model_has_a_page_with_its_schedule_growth_results_and_commands(
    watched: Watched, site: Path
) -> None:
    page = watched.open(site)
    page.locator("#board").get_by_role("link", name="tiny-lidas").click()
    assert page.locator("h1").inner_text().strip() == "tiny-lidas"
    assert page.get_by_role("img", name="Schedule").locator("rect").count() == 6
    assert page.get_by_role("img", name="Growth").locator("rect.loop-1").count() == 2
    assert "growloop eval --model tiny-lidas" in page.locator("pre").inner_text()
    page.get_by_role("link", name="in-context").first.click()
    assert page.locator("h1").inner_text() == "Study: in-context"
    assert page.locator(".curves polyline").count() == 5
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
    for path in (site, site.with_name("claims.html"), models[0], models[-1], *studies):
        page = found.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        for selector in ("body", ".note", "a", "th", "td"):
            if page.locator(selector).count():
                assert contrast(page, selector) >= 4.5, (path, selector)
    found.context.close()
    assert found.wrong == []


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
    names = page.locator("#board tbody th").all_inner_texts()
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
    assert page.locator("#board tbody tr:visible").count() == 172
    found.context.close()
