"""The first page of 5,000 results: small on the wire, quick to show all tasks."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from growloop.leaderboard import Cost, Model, Record, Task
from growloop.leaderboard.site.page import build

from .browsing import Watched

pytestmark = pytest.mark.slow

MODELS, TASKS = 200, 25
SECONDS = """async () => {
    const task = document.getElementById("task");
    const show = (value) => { task.value = value; task.dispatchEvent(new Event("input", { bubbles: true })); };
    const times = [];
    for (let round = 0; round < 5; round += 1) {
        show(task.options[0].value);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        const start = performance.now();
        show("all");
        document.body.getBoundingClientRect(); // with its layout
        times.push((performance.now() - start) / 1000);
    }
    return Math.min(...times);
}"""  # noqa: E501


def generated() -> list[Record]:
    """5,000 results of 200 models on 25 tasks."""
    return [
        Record(
            model=Model(
                name=f"{('loop', 'lidas', 'standard')[model % 3]}-{model}",
                family=("looped", "grown", "standard")[model % 3],  # type: ignore[arg-type]
                size=("small", "large")[model % 2],
                training_flops=1e15 + model,
            ),
            task=Task(name=f"task_{task}", version="1", fingerprint=f"f{task}", chance=0.2),
            value=0.2 + (model * 7 + task * 3) % 80 / 100,
            n=1000,
            cost=Cost(unique_parameters=10**6 + model, inference_flops=10.0**7 + model),
        )
        for model in range(MODELS)
        for task in range(TASKS)
    ]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(generated(), tmp_path_factory.mktemp("large") / "site")


def test_five_thousand_results_are_less_than_two_megabytes_compressed(large: Path) -> None:
    assert len(gzip.compress(large.read_bytes())) <= 2_000_000


def test_all_tasks_of_five_thousand_results_are_shown_at_once(
    watched: Watched, large: Path
) -> None:
    page = watched.open(large)
    assert page.evaluate(SECONDS) <= 0.3
    assert page.locator("#status").inner_text() == "5000 of 5000 results match."
    rows = page.locator("#board .row")
    assert rows.count() == 100
    button = page.locator("#measured .more button")
    button.click()
    assert rows.count() == 300
    assert "rows=300" in page.url
    page.reload()
    assert rows.count() == 300
    page.locator("#board thead th", has_text="Score").get_by_role("button").click()
    assert rows.count() == 300
    page.get_by_label("Search").fill("lidas-100")
    assert 0 < rows.count() <= 100
    assert "lidas-100" in rows.first.inner_text()


def test_every_result_is_in_the_page_without_scripts(large: Path) -> None:
    assert large.read_text(encoding="utf-8").count('class="row"') == MODELS * TASKS
