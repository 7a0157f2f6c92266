"""How the residual stream grows, and how much attention and MLP add to it (paper Figures 6, 11).

Beside the curves one number: how much the contributions of attention recur a block of steps later
(:func:`.periods.periodicity`), at every size of block that the model has steps for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.errors import one_of
from ...core.statistics import (
    CHANGE,
    SIZE,
    Array,
    Interval,
    ends,
    error_interval,
    interval_pairs,
    jackknife_error,
    mean_intervals,
)
from ...models.diagnostics import MEASURES, contributions, trace
from ...models.diagnostics.periodicity import block_sizes, expected_period, periodicity
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.texts import check_texts, digits, read_texts
from ..study import Cell, Record, Study, Table, option, settled

TITLES = {
    "residual_norm": "norm of the residual stream",
    "attention_ratio": "attention: |a| / |h|",
    "mlp_ratio": "MLP: |m| / |h + a|",
    "layer_ratio": "layer: |a + m| / |h|",
    "attention_cosine": "cosine of a and h",
    "mlp_cosine": "cosine of m and h + a",
    "layer_cosine": "cosine of a + m and h",
}
PERIODICITY = "attention_periodicity"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    text: str | None = option(None, "file of prompts; by default generated questions")
    texts: int = option(16, "how many of them")
    tokens: int = option(256, "tokens of each, at most")
    seed: int = option(0, "of generated questions")
    show: tuple[str, ...] = option(
        ("residual_norm", "attention_ratio", "mlp_ratio", "layer_ratio"),
        f"measures in the chart, of {', '.join(MEASURES)}",
        drawn=True,
    )


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model."""
    check_texts(options.text, options.texts, options.tokens)
    for name in options.show:
        one_of("measure", name, MEASURES)
    kept = settled(options)
    return [Cell("contributions", model.name, model.path, {}, kept) for model in models]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """All measures at every step of a model."""
    model, tokenizer = loaded(cell.path)
    texts = read_texts(tokenizer, options.text, options.texts, options.tokens, options.seed)
    found: dict[str, list[torch.Tensor]] = {name: [] for name in MEASURES}
    for ids in loaded.each(texts.ids, "texts"):
        traced = trace(model, ids.to(model.device), sublayers=True)
        for name, values in contributions(traced).items():
            found[name].append(values[0].cpu())
    rows: list[dict[str, Any]] = []
    for name, each in found.items():
        measured = torch.stack(each).double().numpy()  # (texts, steps)
        intervals = interval_pairs(mean_intervals(measured, range_of(name)))
        for step, mean in enumerate(measured.mean(0)):
            layer, loop = traced.coordinates[step]
            rows.append(
                {
                    "metric": name,
                    "step": step,
                    "layer": layer,
                    "loop": loop,
                    "value": float(mean),
                    **ends(intervals[step]),
                    "each": digits(measured[:, step]),
                    **texts.about,
                }
            )
    attention = torch.stack(found["attention_ratio"]).double().numpy()
    rows += [row | texts.about for row in recurrences(attention)]
    assert traced.sublayers is not None
    parallel = [part.parallel for part in traced.sublayers]
    return {"rows": rows, "data": {"parallel": parallel, "block": expected_period(model.config)}}


def recurrences(ratios: Array) -> list[dict[str, Any]]:
    """How much contributions ``(texts, steps)`` recur, for each size of block; over texts."""
    rows: list[dict[str, Any]] = []
    for size in block_sizes(ratios.shape[1]):
        value = float(periodicity(ratios.mean(0), size))
        if not np.isnan(value):
            error = jackknife_error(ratios, partial(periodicity, block=size))
            found = error_interval(value, error, len(ratios), CHANGE)
            row = {"metric": PERIODICITY, "block": size, "value": value, **ends(found)}
            rows.append(row | {"stderr": None if math.isnan(error) else error})
    return rows


def range_of(measure: str) -> Interval:
    """The range of a measure, as rows or the table call it."""
    return CHANGE if "cosine" in measure or "recurs" in measure else SIZE


@seeds.over_seeds(
    "measure", "step", "layer", "loop", of="mean", within=lambda row: range_of(row["measure"])
)
def table(records: Sequence[Record]) -> Table:
    """Each measure at the first, middle and last step; how much attention recurs, block by block.

    The sizes of block are those of the models that have one, or all.
    """
    lines: Table = []
    own = {record["data"]["block"] for record in records} - {None}
    for record in records:
        for name in TITLES:
            found = [row for row in record["rows"] if row["metric"] == name]
            for row in (found[0], found[len(found) // 2], found[-1]):
                lines.append(
                    {
                        "model": record["cell"]["model"],
                        "measure": name,
                        "step": row["step"],
                        "layer": row["layer"],
                        "loop": row["loop"],
                        "mean": row["value"],
                        "low": row["low"],
                        "high": row["high"],
                        "texts": row["n"],
                    }
                )
        for row in record["rows"]:
            if row["metric"] == PERIODICITY and (not own or row["block"] in own):
                lines.append(
                    {
                        "model": record["cell"]["model"],
                        "measure": f"attention recurs after {row['block']} steps",
                        "step": None,
                        "layer": None,
                        "loop": None,
                        "mean": row["value"],
                        "low": row["low"],
                        "high": row["high"],
                        "texts": row["n"],
                    }
                )
    return lines


def chart(records: Sequence[Record]) -> Any:
    """A panel for each measure: its mean against the step, with the 95 % interval."""
    alt = charts.altair()
    names = seeds.names(records)
    panels = []
    for name in records[0]["data"]["show"]:
        values = [
            {"model": record["cell"]["model"], **row}
            for record in records
            for row in record["rows"]
            if row["metric"] == name
        ]
        values = seeds.lines(records, values, "step", within=range_of(name))
        said = f"mean of {values[0]['n']} texts, bands: 95 %"
        title = alt.Title(TITLES[name], subtitle=said)
        base = alt.Chart(charts.rows(values), title=title).encode(
            x=charts.steps_line("step", "step (layer, in the order they run)"),
            color=charts.colour("model", names),
        )
        signed = name.endswith("cosine")  # norms and ratios: the first layers dwarf the rest
        scale = alt.Scale(zero=True) if signed else alt.Scale(type="log", nice=False)
        title = "mean over tokens" + ("" if signed else ", logarithmic")
        line = base.mark_line(point={"size": 18}).encode(
            y=alt.Y("value:Q", title=title, scale=scale),
            strokeDash=charts.dash("model", names),
            tooltip=["model:N", "step:Q", "layer:Q", "loop:Q", "value:Q", "low:Q", "high:Q"],
        )
        # a logarithmic axis has no 0 for a band to end at
        drawn = base if signed else base.transform_filter("datum.low > 0")
        band = drawn.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
        panels.append((band + line).properties(width=330, height=190))
    return alt.concat(*panels, columns=2)


STUDY = Study(
    name="contributions",
    asks="How does the residual stream grow, and do attention, MLP and whole layers contribute in "
    "a cycle?",
    figure="Figures 6 and 11",
    cost="one forward pass a text",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("step",),
)
