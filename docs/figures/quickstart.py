"""Scores of quick starts with several seeds: a picture, and the differences of the models.

``quickstart.json`` holds the scores; ``draw.py`` draws them. To add or replace seeds:
``for s in 1 2; do growloop quickstart --seed $s --out quickstart-seed-$s; done``, then
``python docs/figures/quickstart.py quickstart-seed-*``, which prints paired differences too.
A dot is a seed, with its 95 % interval over questions. Models that a folder lacks stay as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from growloop.core.statistics import SHARE, share_interval
from growloop.leaderboard.harness import read
from growloop.leaderboard.site import theme
from growloop.studies.measure import charts
from growloop.studies.reproduce.quickstart_report import SUITE, summarize_models
from growloop.tasks.compare_results import compare_results

STORED = Path(__file__).with_suffix(".json")
PAIRS = (("loop-3x2", "standard"), ("loop-3x2", "standard-3"), ("lidas", "standard"))
Row = dict[str, Any]  # score of a model with a seed


def stored() -> list[Row]:
    """Read the stored scores, one row per model and seed."""
    rows: list[Row] = json.loads(STORED.read_text(encoding="utf-8"))
    return rows


def measured(folder: Path) -> list[Row]:
    """Return the scores of a quick start's models, those that are scored."""
    plan = json.loads((folder / "quickstart.json").read_text(encoding="utf-8"))
    files = sorted((folder / "results").rglob("results_*.json"))
    rows = []
    for m in summarize_models([record for file in files for record in read(file)]):
        low, high = share_interval(m.score, m.n, m.stderr) or SHARE
        rows.append(
            {
                "seed": plan["runs"][0]["seed"],
                "model": m.kind,
                "accuracy": round(m.score, 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "chance": m.chance,
                "parameters": m.parameters,
                "training_flops": float(f"{m.training_flops:.3g}"),
            }
        )
    return rows


def update(rows: list[Row]) -> None:
    """Write scores to the stored ones, in place of those of the same seed and model."""
    merged = {(row["seed"], row["model"]): row for row in [*stored(), *rows]}
    lines = [" " + json.dumps(row) for _, row in sorted(merged.items(), key=lambda kv: kv[0][0])]
    STORED.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def picture(rows: list[Row]) -> object:
    """Draw a row for each model and a dot for each seed."""
    alt = charts.altair()
    kinds = list(dict.fromkeys(row["model"] for row in rows))
    x = alt.X("accuracy:Q", title="accuracy, mean of five tasks", scale=alt.Scale(domain=[0, 1]))
    colours = alt.Scale(domain=kinds, range=theme.series_colours(kinds))
    base = alt.Chart(charts.rows(rows)).encode(
        y=alt.Y("model:N", sort=kinds, title=None),
        yOffset=alt.YOffset("seed:N", scale=alt.Scale(paddingOuter=1)),
        color=alt.Color("model:N", scale=colours, legend=None),
    )
    dotted = alt.Chart(charts.rows([{"chance": rows[0]["chance"]}]))
    chance = dotted.mark_rule(color=theme.GREY, strokeDash=list(theme.DOTS)).encode(x="chance:Q")
    intervals = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    dots = base.mark_circle(size=60, opacity=1).encode(x=x)
    return alt.layer(chance, intervals, dots).properties(width=420, height=160)


def differences(folder: Path) -> list[str]:
    """Format, per pair of models, the difference in points with its interval over questions."""
    lines = []
    for first, second in PAIRS:
        places = [folder / "results" / f"quickstart-{name}" for name in (first, second)]
        if all(place.is_dir() for place in places):
            row = compare_results(*places, [SUITE]).rows[0]
            low, high = 100 * (row.low or 0), 100 * (row.high or 0)
            lines.append(
                f"{first} - {second}: {100 * row.difference:+.1f} ({low:+.1f} to {high:+.1f})"
            )
    return lines


def main(*folders: str) -> None:
    for folder in map(Path, folders):
        rows = measured(folder)
        update(rows)
        print(folder.name, *(f"{r['model']} {r['accuracy']:.3f}" for r in rows), sep="\n  ")
        print(*(f"  {line}" for line in differences(folder)), sep="\n")
    charts.save(picture(stored()), STORED.with_suffix(".svg"))


if __name__ == "__main__":
    main(*sys.argv[1:])
