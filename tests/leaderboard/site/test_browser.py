"""The site in a real browser: Chromium without a window, driven by Playwright.

Skipped where either is missing; CONTRIBUTING.md says how to get them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from growloop.leaderboard import Cost, Growth, Model, Record, Task
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.page import build

from ..making import poisoned
from ..payloads import MARKUP
from .browsing import Watched

pytestmark = pytest.mark.slow

SUITE = Task(
    name="reasoning_primitives", version="1", fingerprint="ab", shots=5, split="test", chance=0.16
)


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
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a site with measured and reported results."""
    return build([*measured(), *paper_rows()], tmp_path_factory.mktemp("www") / "site")


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


def near_leader() -> list[Record]:
    """A leader, and models drawn after it so near that their hit areas cover its own."""
    found = []
    for name, value, parameters in (
        ("tiny-leader", 0.9, 200_000), ("tiny-close", 0.895, 201_000), ("tiny-far", 0.3, 400_000),
        ("tiny-twin-a", 0.6, 300_000), ("tiny-twin-b", 0.6, 300_000),
    ):  # fmt: skip
        model = Model(name=name, size="tiny", training_flops=1e14)
        cost = Cost(unique_parameters=parameters, inference_flops=4e6)
        found.append(Record(model=model, task=SUITE, value=value, n=5000, cost=cost))
    return found


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


def study_of(count: int) -> list[Record]:
    """Models whose block was repeated, with one seed, and one with three."""
    found = []
    for number in range(count):
        for seed in (0, 1, 2) if number == 0 else (0,):
            for times, block in ((0, "4:6"), (1, "4:6"), (2, "1:3")):
                found.append(
                    Record(
                        model=Model(name=f"model-{number:02}", seed=seed, schedule="6"),
                        task=SUITE, n=500, value=(number + times + seed / 9) / (count + 3),
                        study="repeats", schedule=None if times == 0 else f"4-{times + 1}x2",
                        conditions={"times": times, "block": block, "chosen": True},
                    )
                )  # fmt: skip
    return found


@pytest.fixture
def repeats(tmp_path: Path) -> Path:
    """The page of a study of twelve models."""
    [page] = (build(study_of(12), tmp_path / "site").parent / "studies").iterdir()
    return page


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
