"""Scores of quick starts with several seeds: a picture, and a table of the differences.

``for s in 1 2; do growloop quickstart --seed $s --out quickstart-seed-$s; done``, then
``python docs/figures/quickstart.py docs/figures/quickstart.svg quickstart-seed-*``.
A dot is a seed, with its 95 % interval over questions. Models that a folder lacks are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from growloop.core.statistics import SHARE, share_interval
from growloop.leaderboard.harness import read
from growloop.leaderboard.site import theme
from growloop.studies.measure import charts
from growloop.studies.reproduce.quickstart_report import SUITE, ModelSummary, summarize_models
from growloop.tasks.compare_results import compare_results

PAIRS = (("loop-3x2", "standard"), ("loop-3x2", "standard-3"), ("lidas", "standard"))


def summaries(folder: Path) -> list[ModelSummary]:
    """Summarize the models of a quick start that are scored."""
    files = sorted((folder / "results").rglob("results_*.json"))
    return summarize_models([record for file in files for record in read(file)])


def picture(seeds: dict[str, list[ModelSummary]]) -> object:
    """Draw a row for each model and a dot for each seed."""
    alt = charts.altair()
    kinds = list(dict.fromkeys(model.kind for models in seeds.values() for model in models))
    data = []
    for seed, models in seeds.items():
        for model in models:
            low, high = share_interval(model.score, model.n, model.stderr) or SHARE
            row = {"model": model.kind, "accuracy": model.score, "low": low, "high": high}
            data.append(row | {"seed": seed})
    x = alt.X("accuracy:Q", title="accuracy, mean of five tasks", scale=alt.Scale(domain=[0, 1]))
    colours = alt.Scale(domain=kinds, range=theme.series_colours(kinds))
    base = alt.Chart(charts.rows(data)).encode(
        y=alt.Y("model:N", sort=kinds, title=None),
        yOffset=alt.YOffset("seed:N", scale=alt.Scale(paddingOuter=1)),
        color=alt.Color("model:N", scale=colours, legend=None),
    )
    dotted = alt.Chart(charts.rows([{"chance": next(iter(seeds.values()))[0].chance}]))
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


def main(target: str, *names: str) -> None:
    seeds = {Path(name).name: summaries(Path(name)) for name in names}
    for name, models in seeds.items():
        print(name)
        for m in models:
            columns = " ".join(f"{column} {value:.3f}" for column, value in m.columns.items())
            print(f"  {m.kind} {m.score:.3f} ± {m.stderr:.3f} {m.training_flops:.3g} {columns}")
    for name in names:
        print(Path(name).name, *differences(Path(name)), sep="\n  ")
    charts.save(picture(seeds), target)


if __name__ == "__main__":
    main(*sys.argv[1:])
