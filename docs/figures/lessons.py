"""Draws how models learn from lessons: the loss of each lesson against the step, stages marked.

``python docs/figures/lessons.py docs/figures/lessons.svg RUN_FOLDER...``, each folder as ``growloop
train`` wrote it. A point is the mean over 100 steps. ``draw.py`` adds the title.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import altair as alt
from growloop.leaderboard.site import theme
from growloop.studies.measure import charts

LESSONS = ["repeats", "recall", "copying-letters", "copying-words"]
LESSONS += [f"assignment-{depth}" for depth in range(4)]
WINDOW = 100


def points(folder: Path) -> list[dict[str, object]]:
    """Mean loss of each lesson in each window."""
    sums: dict[tuple[int, str], list[float]] = defaultdict(list)
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name.startswith("loss/"):
                step = (row["step"] // WINDOW) * WINDOW + WINDOW // 2
                sums[step, name.removeprefix("loss/")].append(value)
    model = folder.name.removeprefix("lessons-")
    return [
        {"model": model, "step": step, "lesson": lesson, "loss": sum(found) / len(found)}
        for (step, lesson), found in sums.items()
    ]


def main(picture: str, *folders: str) -> None:
    data = [point for folder in folders for point in points(Path(folder))]
    models = [Path(folder).name.removeprefix("lessons-") for folder in folders]
    chart = (
        alt.Chart(alt.Data(values=data))
        .mark_line(interpolate="monotone")
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("loss:Q", title="nats a target"),
            color=charts.colour("model", models),
        )
        .properties(width=230, height=130)
        .facet(facet=alt.Facet("lesson:N", sort=LESSONS, title=None), columns=2)
        .resolve_scale(y="independent")
        .configure(**theme.altair_config(theme.LIGHT))
    )
    chart.save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
