"""The tables of the site in a browser: ranks, order, filters, and the view in the address.

Skipped where Chromium or Playwright is missing; CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.leaderboard import Cost, Model, Record
from growloop.leaderboard.site.page import build

from .browsing import Watched, column
from .site_records import SUITE

pytestmark = pytest.mark.slow


def test_the_papers_rows_stand_in_a_table_of_their_own_and_not_in_the_charts(
    watched: Watched, site: Path
) -> None:
    page = watched.open(site)
    assert page.locator("#task option:checked").inner_text().startswith("reasoning_primitives")
    assert column(page, "Model")[0] == "tiny-loop"
    assert len(column(page, "Model")) == 5
    assert len(column(page, "Model", "#others")) == 31
    assert set(column(page, "From", "#others")) == {"reported"}
    assert page.locator(".chart").nth(0).locator(".point").count() == 5
    headings = page.locator("#others .scale:visible").all_inner_texts()
    assert [text.split(":")[0] for text in headings] == ["1.7B", "360M"]
    assert all("reported by arXiv:2602.16490, not measured here" in text for text in headings)
    assert all("not with rows that were measured here" in text for text in headings)
    page.get_by_label("the paper’s rows").uncheck()
    assert not page.locator("#others").is_visible()
    assert page.locator("#status").inner_text() == "5 of 172 results match."
    page.locator("#task").select_option(
        label="reasoning_primitives · 5 shots · as in the paper (31)"
    )
    assert not page.locator("#board").is_visible()
    assert "reported, not measured here" in page.locator("#of").inner_text()
    chart = page.locator(".chart").nth(0)
    assert chart.locator(".point .hollow").count() == 31
    assert chart.locator(".front").count() == 2  # one a size


def test_models_of_different_sizes_are_ranked_apart(watched: Watched, tmp_path: Path) -> None:
    small = Model(name="lessons-loop", size="lessons", family="looped")
    large = [Model(name=name, family="standard") for name in ("hub-a", "hub-b")]
    records = [
        Record(model=small, task=SUITE, value=0.99, n=500, cost=Cost(unique_parameters=200_000)),
        *(
            Record(model=m, task=SUITE, value=v, n=500, cost=Cost(unique_parameters=c))
            for m, v, c in zip(large, (0.3, 0.4), (135_000_000, 360_000_000), strict=True)
        ),
    ]
    page = watched.open(build(records, tmp_path / "site"))
    headings = page.locator("#board .scale:visible").all_inner_texts()
    assert [text.split(":")[0] for text in headings] == ["lessons", "100 M to 1 B parameters"]
    assert "small models trained for such tasks" in headings[0]
    for _ in range(2):
        page.locator("#board thead th", has_text="Score").get_by_role("button").click()
    assert column(page, "Model") == ["lessons-loop", "hub-a", "hub-b"]  # ascending, each by itself
    told = page.locator(".chart svg").first.get_attribute("aria-label")
    assert "Pareto front of lessons: lessons-loop 0.990 at 200 k." in told


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
    page.locator("#board thead th", has_text="Model").get_by_role("button").click()
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
    assert not page.locator("#board").is_visible()
    assert page.locator("#status").inner_text().startswith("0 of 172 results match: ")
    assert "No model shown" in page.locator(".chart").nth(0).inner_text()
    page.get_by_label("Search").fill("")
    page.locator("#task").select_option(label="all tasks")
    assert len(column(page, "Model", "#others")) == 100
    assert page.locator("#theirs .more").inner_text() == "show more rows 21 not shown yet"
    assert "Choose one task" in page.locator(".chart").nth(1).inner_text()
    page.get_by_label("Size").select_option("360M")
    names = column(page, "Model", "#others")
    assert names
    assert all("360M" in name for name in names)


def test_back_and_a_reload_show_what_was_chosen(watched: Watched, site: Path) -> None:
    page = watched.open(site)
    task = "hellaswag · 0 shots · as in the paper (17)"
    page.locator("#task").select_option(label=task)
    page.get_by_label("grown", exact=True).uncheck()
    page.get_by_label("Search").fill("1.7B")
    page.locator("#others thead th", has_text="Parameters").get_by_role("button").click()
    names = column(page, "Model", "#others")
    assert 0 < len(names) < 17

    def is_as_chosen() -> None:
        assert page.locator("#task option:checked").inner_text() == task
        assert not page.get_by_label("grown", exact=True).is_checked()
        assert page.get_by_label("Search").input_value() == "1.7B"
        assert page.locator("#others [aria-sort=descending]").inner_text().startswith("Parameters")
        assert column(page, "Model", "#others") == names
        assert page.locator(".chart").nth(0).locator(".point").count() == len(names)

    page.locator("#others").get_by_role("link").first.click()
    page.wait_for_url("**/models/*.html")
    page.go_back()
    is_as_chosen()
    page.reload()
    is_as_chosen()
    page.get_by_role("link", name="Results", exact=True).click()
    page.wait_for_url("**#results")
    is_as_chosen()
    page.get_by_label("Search").fill("")
    page.go_back()
    is_as_chosen()
