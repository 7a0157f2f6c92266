"""The charts of the site in a browser: points, lines and what they tell.

Skipped where Chromium or Playwright is missing; CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from growloop.leaderboard import Cost
from growloop.leaderboard.site.page import build

from .browsing import Watched, rest_on, spot_of
from .site_records import near_leader, study_of

pytestmark = pytest.mark.slow


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
    rest_on(page, points.nth(0).locator(".dot"))
    assert tip.is_visible()
    assert tip.inner_text().startswith("tiny-loop\n0.800 [0.779, 0.819] at 250 k")
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    points.nth(1).focus()
    assert "tiny-loop-middle" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    assert points.nth(1).get_attribute("aria-label").startswith("tiny-loop-middle, 0.700")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/tiny-loop-middle-*.html")


def test_the_leader_tells_its_own_name_though_another_is_drawn_over_it(
    watched: Watched, tmp_path: Path
) -> None:
    page = watched.open(build(near_leader(), tmp_path / "site"))
    tip = page.locator("#tip")
    for name in ("tiny-close", "tiny-leader", "tiny-far", "tiny-leader"):
        rest_on(page, spot_of(page, 0, name))
        assert tip.inner_text().startswith(f"{name}\n")
    label = page.locator(".chart").nth(0).locator(".point[aria-label^='tiny-leader,'] text")
    rest_on(page, label)
    assert tip.inner_text().startswith("tiny-leader\n")
    rest_on(page, spot_of(page, 0, "tiny-leader"))
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/models/tiny-leader-*.html")


def test_points_at_one_place_are_all_told(watched: Watched, tmp_path: Path) -> None:
    page = watched.open(build(near_leader(), tmp_path / "site"))
    rest_on(page, spot_of(page, 0, "tiny-twin-a"))
    told = page.locator("#tip").inner_text()
    assert "tiny-twin-a\n" in told
    assert "tiny-twin-b\n" in told


def test_a_finger_reaches_the_model_it_touches(browser: Any, tmp_path: Path) -> None:
    found = Watched(browser, viewport={"width": 390, "height": 800}, has_touch=True)
    page = found.open(build(near_leader(), tmp_path / "site"))
    spot = spot_of(page, 0, "tiny-far")
    spot.scroll_into_view_if_needed()
    box = spot.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**/models/tiny-far-*.html")
    found.context.close()
    assert found.wrong == []


def test_a_study_draws_every_model_as_one_line_and_tells_what_was_varied(
    watched: Watched, repeats: Path
) -> None:
    page = watched.open(repeats)
    lines = page.locator(".curves .line")
    assert lines.count() == 12
    assert page.locator(".legend [data-line] span").all_inner_texts() == [
        f"model-{number:02}" for number in range(12)
    ]
    assert [lines.nth(i).locator(".spot").count() for i in range(12)] == [3] * 12
    looks = page.eval_on_selector_all(
        ".legend [data-line] .key", "all => all.map(one => one.innerHTML.replace(/\\s+/g, ' '))"
    )
    assert len(set(looks)) == 12  # colours return, but with another dash
    rest_on(page, lines.nth(11).locator(".spot").nth(2))
    told = page.locator("#tip").inner_text().splitlines()
    assert told[0] == "model-11"
    assert "at times 2" in told[1]
    assert {"block 1:3", "run as 4-3x2"} <= set(told)


def test_lines_can_be_taken_away_and_brought_back(watched: Watched, repeats: Path) -> None:
    page = watched.open(repeats)
    shown = page.locator(".curves .line:visible")
    page.get_by_label("model-03").uncheck()
    assert shown.count() == 11
    assert "1 of 12 lines hidden" in page.locator(".legend").inner_text()
    page.reload()
    assert shown.count() == 11
    assert not page.get_by_label("model-03").is_checked()
    page.get_by_role("button", name="show all lines").click()
    assert shown.count() == 12
    page.get_by_role("button", name="hide all lines").press("Enter")
    assert shown.count() == 0
    page.get_by_label("model-03").press("Space")
    assert shown.count() == 1


def test_seeds_are_dots_and_their_interval_looks_other_than_one_over_items(
    watched: Watched, repeats: Path, tmp_path: Path
) -> None:
    page = watched.open(repeats)
    first, second = (page.locator(".curves .line").nth(i) for i in (0, 1))
    assert first.locator("circle.seed").count() == 9  # three seeds at three numbers
    assert second.locator("circle.seed").count() == 0
    ends = [line.locator(".bar").first.get_attribute("d").count("h6") for line in (first, second)]
    assert ends == [2, 0]
    said = page.locator(".spreads").first.inner_text()
    assert "plain bar: 95 % interval over items" in said
    assert "bar with end strokes: 95 % interval over seeds, one small dot each" in said
    overs = {text.split("over ")[1] for text in page.locator("small.over").all_inner_texts()}
    assert overs == {"3 seeds", "500 items"}
    records = [
        record.model_copy(update={"study": None, "conditions": {}, "schedule": None})
        for record in study_of(2)
        if record.conditions["times"] == 0
    ]
    records = [r.model_copy(update={"cost": Cost(unique_parameters=10)}) for r in records]
    page = watched.open(build(records, tmp_path / "first"))
    points = page.locator(".chart").nth(0).locator(".point")
    assert [points.nth(i).locator(".seed").count() for i in (0, 1)] == [0, 3]  # the best first
    labels = [points.nth(i).get_attribute("aria-label") for i in (0, 1)]
    assert "95 % interval over 500 items" in labels[0]
    assert "95 % interval over 3 seeds, each: 0.000, 0.022, 0.044" in labels[1]
