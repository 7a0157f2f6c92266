"""Scores of quick starts with several seeds: a picture, and a table of the differences.

``for s in 1 2 3; do growloop quickstart --seed $s --out quickstart-seed-$s; done``, then
``python docs/figures/quickstart.py docs/figures/quickstart.svg quickstart-seed-*``.
A dot is a seed, with its 95 % interval over questions.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from growloop.core.statistics import SHARE, seeds_interval, share_interval
from growloop.leaderboard import Store
from growloop.leaderboard.site import theme
from growloop.studies.measure import charts
from growloop.studies.reproduce.quickstart_report import ModelSummary, summarize_models
from growloop.tasks.compare_results import compare_results

SUITE = "reasoning_primitives"


def label(model: ModelSummary, base: ModelSummary) -> str:
    """Name of a model with its parameters and training FLOPs, relative to the standard one."""
    parameters = model.parameters / base.parameters
    flops = model.training_flops / base.training_flops
    return f"{model.kind}: {parameters:.0%} of the parameters, {flops:.0%} of the FLOPs"


def picture(seeds: Sequence[list[ModelSummary]]) -> object:
    """A row a model, a dot a seed."""
    alt = charts.altair()
    first = seeds[0]
    names = [label(model, first[0]) for model in first]
    data = []
    for summaries in seeds:
        for place, (name, model) in enumerate(zip(names, summaries, strict=True)):
            low, high = share_interval(model.score, model.n, model.stderr) or SHARE
            row = {"model": name, "accuracy": model.score, "low": low, "high": high}
            data.append(row | {"seed": str(seeds.index(summaries)), "place": place})
    x = alt.X("accuracy:Q", title="accuracy, mean of five tasks", scale=alt.Scale(domain=[0, 1]))
    colours = theme.series_colours([model.kind for model in first])
    base = alt.Chart(charts.rows(data)).encode(
        y=alt.Y("model:N", sort=names, title=None, axis=alt.Axis(labelLimit=420)),
        yOffset=alt.YOffset("seed:N"),
        color=alt.Color("model:N", scale=alt.Scale(domain=names, range=colours), legend=None),
    )
    chance = (
        alt.Chart(charts.rows([{"chance": first[0].chance}]))
        .mark_rule(color=theme.GREY, strokeDash=list(theme.DOTS))
        .encode(x="chance:Q")
    )
    intervals = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    dots = base.mark_circle(size=60, opacity=1).encode(x=x)
    return alt.layer(chance, intervals, dots).properties(width=420, height=alt.Step(16))


def table(folders: Sequence[Path], seeds: Sequence[list[ModelSummary]]) -> str:
    """Markdown table of the differences: a column a seed, and the mean over seeds."""
    by_kind = {model.kind: model.name for model in seeds[0]}
    standard, control, looped, grown = by_kind
    lines = []
    for one, other in (
        (looped, standard),
        (looped, control),
        (control, standard),
        (grown, standard),
    ):
        rows = [
            compare_results(
                folder / "results" / by_kind[one], folder / "results" / by_kind[other], [SUITE]
            ).rows[0]
            for folder in folders
        ]
        cells = [
            f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
            for row in rows
        ]
        values = [row.difference for row in rows]
        mean = f"{100 * statistics.fmean(values):+.1f}"
        if interval := seeds_interval(values):
            mean += f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
        lines.append(f"| {one} - {other} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def main(target: str, *names: str) -> None:
    folders = [Path(name) for name in names]
    seeds = [summarize_models(Store(folder / "records").read()) for folder in folders]
    for folder, summaries in zip(folders, seeds, strict=True):
        print(folder.name)
        for m in summaries:
            columns = " ".join(f"{name} {value:.3f}" for name, value in m.columns.items())
            print(
                f"  {m.kind:12} {m.score:.3f} ± {m.stderr:.3f}  {m.training_flops:.3g}  {columns}"
            )
    print(table(folders, seeds))
    charts.save(picture(seeds), target)


if __name__ == "__main__":
    main(*sys.argv[1:])
