"""The page as a reader uses it: what comes first, the address, print, keyboard, no scripts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from growloop.leaderboard import Record
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.page import build

from .browsing import Watched, column
from .site_records import measured, study_of
from .test_forest_plot import suite_records

pytestmark = pytest.mark.slow


def records() -> list[Record]:
    return [*measured(), *suite_records(0.7), *paper_rows()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a site with claims, measured and reported results, and a study."""
    return build(records(), tmp_path_factory.mktemp("www") / "site")


def query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_the_claims_come_first_then_the_matrix_then_the_ranks(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    headings = page.locator("h2:visible").all_inner_texts()
    assert headings[:4] == [
        "2 claims tested here: 1 supported, 1 undecided",
        "Models by tasks",
        "Ranked results",
        "Measured here",
    ]
    row = page.locator(".forest tbody tr").first
    assert row.locator("td").nth(1).inner_text().startswith("+0.200 [")
    assert row.locator(".verdict").inner_text() == "supported"
    assert row.locator("td").nth(3).inner_text() == "3"
    assert "+0.112 (1.7B)" in row.locator("td").last.inner_text()
    square, zero = (row.locator(name).bounding_box() for name in (".estimate", ".zero"))
    assert square["x"] > zero["x"]  # right of 0
    row.get_by_role("link").click()
    page.wait_for_url("**/claims.html#looping-at-equal-parameters")


def test_columns_of_the_matrix_are_chosen_and_stay(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    page.locator(".fold summary").first.click()
    table = page.locator(".matrix.theirs").first
    assert table.locator("thead th:visible").count() == 1 + 6
    assert table.locator("tbody .badge").first.inner_text() == "reported"
    page.locator(".fold .columns summary").first.click()
    page.get_by_label("gsm8k · as in the paper").first.uncheck()
    page.get_by_label("lambada · 0 shots · as in the paper").first.check()
    shown = table.locator("thead th:visible").all_inner_texts()
    assert not any("gsm8k" in text for text in shown)
    assert any("lambada" in text for text in shown)
    page.reload()
    page.locator(".fold summary").first.click()
    assert table.locator("thead th:visible").all_inner_texts() == shown


def test_the_view_is_in_the_address_and_a_link_shows_it(
    watched: Watched, browser: Any, site: Path
) -> None:
    page = watched.open(site)
    assert query(page) == {}
    page.locator("#task").select_option(label="hellaswag · 0 shots · as in the paper (17)")
    page.get_by_label("Search").fill("1.7B")
    page.get_by_label("grown", exact=True).uncheck()
    page.locator("#others thead th", has_text="Parameters").get_by_role("button").click()
    names = column(page, "Model", "#others")
    assert set(query(page)) == {"task", "search", "hide", "sort"}
    other = Watched(browser)
    there = other.page
    there.goto(page.url)
    assert column(there, "Model", "#others") == names
    assert there.get_by_label("Search").input_value() == "1.7B"
    assert there.locator("#others [aria-sort=descending]").inner_text().startswith("Parameters")
    there.goto(f"{site.as_uri()}?task=none&sort=9.9.up+x&rows=-5&hide=nothing&columns=z")
    assert there.locator("#task option:checked").inner_text().startswith("reasoning_primitives")
    other.context.close()
    assert other.wrong == []
    page.get_by_label("Search").fill("")
    page.get_by_label("grown", exact=True).check()
    page.locator("#task").select_option(index=0)
    assert set(query(page)) == {"sort"}


def test_ranks_are_shared_and_sort_first(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    ranks = [int(rank) for rank in column(page, "Rank")]
    assert ranks == sorted(ranks)
    button = page.locator("#board thead th", has_text="Rank").get_by_role("button")
    button.click()
    assert [int(rank) for rank in column(page, "Rank")] == ranks
    button.click()
    assert [int(rank) for rank in column(page, "Rank")] == ranks[::-1]
    assert set(column(page, "Rank", "#others")) == {"–"}


def test_print_has_the_task_and_the_headings_and_unfolds(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.locator("form").is_visible()
    assert page.locator("#viewed").inner_text().startswith("Task: reasoning_primitives · 5 shots")
    assert page.locator(".matrix.theirs").first.is_visible()
    heads = page.locator("thead").all()
    assert all(
        head.evaluate("e => getComputedStyle(e).display") == "table-header-group" for head in heads
    )
    for text in ("Models by tasks", "Measured here", "Reported by others, not measured here"):
        assert page.get_by_role("heading", name=text, exact=True).is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_without_scripts_all_is_there_and_nothing_that_needs_them(browser: Any, site: Path) -> None:
    found = Watched(browser, java_script_enabled=False)
    page = found.open(site)
    assert page.locator(".forest tbody tr:visible").count() == 3
    assert page.locator(".board .row:visible").count() == len(paper_rows()) + 7
    assert page.locator(".matrix").first.is_visible()
    assert not page.locator("form").is_visible()
    assert not page.get_by_role("heading", name="Trade-offs").is_visible()
    [study] = (site.parent / "studies").iterdir()
    page = found.open(study)
    assert page.locator(".curves .line:visible").count() == 5
    assert page.locator(".legend li:visible").count() == 6
    assert page.locator(".legend input").count() == 0
    [model] = (site.parent / "models").glob("tiny-lidas*")
    page = found.open(model)
    page.locator("summary", has_text="in-context").click()
    assert page.locator("tbody tr:visible", has_text="examples 64").count() == 1
    found.context.close()
    assert found.wrong == []


def test_the_keyboard_reaches_the_table_within_ten_tabs(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    pressed = 0
    while pressed < 10:
        page.keyboard.press("Tab")
        pressed += 1
        focused = page.evaluate("document.activeElement.textContent")
        if focused == "Skip to the table of results":
            page.keyboard.press("Enter")
        if page.evaluate("!!document.activeElement.querySelector('#board, #board *')"):
            break
    assert pressed <= 5
    assert page.locator("#results").evaluate("e => e.getBoundingClientRect().top") < 400


def test_a_model_page_is_folded_by_study(watched: Watched, site: Path) -> None:
    [model] = (site.parent / "models").glob("tiny-lidas*")
    page = watched.open(model)
    assert page.locator("details.fold summary").all_inner_texts() == [
        "Evaluations: 1 result",
        "in-context: 3 results",
    ]
    assert page.locator("details.fold table:visible").count() == 1


def test_the_page_says_how_to_cite_and_what_its_numbers_mean(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    cite = page.locator("section", has=page.locator("#cite"))
    assert "Apache License" in cite.inner_text()
    assert "@misc{" in cite.locator("code").inner_text()
    assert "arXiv:2602.16490" in cite.locator("code").inner_text()
    assert "content " in page.locator("footer").inner_text()
    page.get_by_role("link", name="Methods", exact=True).click()
    terms = page.locator("dt").all_inner_texts()
    assert {"Score", "95 % interval", "Rank", "Verdict", "Reported"} <= set(terms)


def test_the_schedules_of_one_model_are_joined(watched: Watched, tmp_path: Path) -> None:
    plain = [record for record in measured() if record.study is None]
    cost = plain[0].cost.model_copy(update={"inference_flops": 8e6})
    repeated = plain[0].model_copy(update={"schedule": "2-2x2-2", "cost": cost, "value": 0.7})
    page = watched.open(build([*plain, repeated], tmp_path / "site"))
    lines = page.locator(".chart").nth(1).locator(".joined")
    assert lines.count() == 1
    assert len(lines.get_attribute("points").split(" ")) == 2


def test_a_model_has_one_colour_on_all_pages(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    fill = "e => getComputedStyle(e).fill"
    colours = {page.locator("#board .row", has_text="tiny-lidas").locator(".mark g").evaluate(fill)}
    matrix = page.locator(".matrix tr", has_text="tiny-lidas")
    colours.add(matrix.locator(".mark g").evaluate(fill))
    point = page.locator(".chart .point[aria-label^='tiny-lidas,'] .dot").first
    colours.add(point.evaluate(fill))
    [study] = (site.parent / "studies").iterdir()
    page = watched.open(study)
    place = page.locator(".legend [data-line] span").all_inner_texts().index("tiny-lidas")
    colours.add(page.locator(".curves .line").nth(place).locator(".spot g").first.evaluate(fill))
    assert len(colours) == 1


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_text_is_smaller_than_eleven_pixels(browser: Any, site: Path, width: int) -> None:
    found = Watched(browser, viewport={"width": width, "height": 800})
    [study] = (site.parent / "studies").iterdir()
    [model] = (site.parent / "models").glob("tiny-lidas*")
    for path in (site, study, model, site.with_name("claims.html"), site.with_name("methods.html")):
        page = found.open(path)
        small = page.evaluate(
            """() => [...document.querySelectorAll('body *')].flatMap(one => {
                const texts = [...one.childNodes].some(n => n.nodeType === 3 && n.data.trim());
                if (!texts || !one.getClientRects().length) return [];
                const matrix = one.ownerSVGElement ? one.getScreenCTM() : { b: 0, d: 1 };
                const scale = Math.hypot(matrix.b, matrix.d); // text may be turned
                const size = parseFloat(getComputedStyle(one).fontSize) * scale;
                return size < 10.99 ? [`${one.outerHTML.slice(0, 80)} ${size}`] : [];
            })"""
        )
        assert small == [], path
    found.context.close()


def test_axe_finds_nothing(browser: Any, site: Path) -> None:
    axe = os.environ.get("AXE_CORE")  # axe.min.js of the npm package axe-core
    if not axe:
        pytest.skip("AXE_CORE does not name axe.min.js")
    [study] = (site.parent / "studies").iterdir()
    [model] = (site.parent / "models").glob("tiny-lidas*")
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        for path in (
            site,
            study,
            model,
            *(site.with_name(n) for n in ("claims.html", "methods.html")),
        ):
            page.goto(path.as_uri())
            page.add_script_tag(path=axe)
            found = page.evaluate("axe.run(document)")["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path
        context.close()


def test_the_lines_a_reader_hid_are_in_the_address(
    watched: Watched, browser: Any, tmp_path: Path
) -> None:
    [study] = (build(study_of(4), tmp_path / "site").parent / "studies").iterdir()
    page = watched.open(study)
    page.get_by_label("model-02").uncheck()
    assert set(query(page)) == {"hide"}
    other = Watched(browser)
    other.page.goto(page.url)
    assert other.page.locator(".curves .line:visible").count() == 3
    assert not other.page.get_by_label("model-02").is_checked()
    other.context.close()
    assert other.wrong == []
