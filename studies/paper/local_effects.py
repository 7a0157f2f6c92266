"""Which layer depends on which earlier one (paper Figures 7 and 10; Csordás 2025).

The contribution of a source step is taken away and the relative change of what a later step adds
is looked at: alone (local), or with everything between recomputed (propagated); at later tokens
only (future), or at all. Nothing is taken away from the first token of a text. The heatmap is the
largest over tokens and texts, as in the paper; the mean over texts has intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...core.errors import one_of, whole
from ...core.statistics import SIZE, ends, interval_pairs, mean_intervals
from ...models.diagnostics import SKIP_FRONT, future_cuts, local_effects, propagated_effects, trace
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.prompts import (
    SKIP_FRONT_HELP,
    check_prompts,
    check_skip_front,
    read_prompts,
    round_digits,
    skipped_front,
)
from ..study import Cell, Record, Study, Table, option, settled

MEASURES = {"local": local_effects, "propagated": propagated_effects}
WHERE = ("future", "all")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    text: str | None = option(None, "file of prompts; by default generated questions")
    texts: int = option(16, "how many of them")
    tokens: int = option(128, "tokens of each, at most")
    measures: tuple[str, ...] = option(("local",), "local, propagated")
    where: tuple[str, ...] = option(("future",), "future, all: which tokens")
    cuts: int = option(4, "places between earlier and later tokens, for future")
    skip_front: int = option(SKIP_FRONT, SKIP_FRONT_HELP, before=0)
    seed: int = option(0, "of generated questions")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model, measure and place."""
    check_prompts(options.text, options.texts, options.tokens)
    whole("cuts", options.cuts, 1, options.tokens - 1)
    check_skip_front(options.skip_front, options.tokens)
    for measure in options.measures:
        one_of("measure", measure, MEASURES)
    for where in options.where:
        one_of("place", where, WHERE)
    kept = settled(options, "measures", "where")
    return [
        Cell("local-effects", model.name, model.path, {"measure": measure, "where": where}, kept)
        for model in models
        for measure in options.measures
        for where in options.where
    ]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """The heatmap of a model."""
    model, tokenizer = loaded(cell.path)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    found = []
    for ids in loaded.each(texts.ids, "texts"):
        traced = trace(model, ids.to(model.device))
        future = cell.params["where"] == "future"
        cuts = future_cuts(ids.shape[1], options.cuts) if future else None
        effect = MEASURES[cell.params["measure"]]
        found.append(effect(traced, cuts, skip_front=options.skip_front)[0])
    effects = torch.stack(found)  # (texts, source, target)
    steps = effects.shape[1]
    values = effects.flatten(1).double().numpy()
    low, high = mean_intervals(values, SIZE)
    shape = (steps, steps)
    # how much a step depends on all before it, on average: the vertical lines of the heatmap
    per_target = effects.double().sum(1)[:, 1:] / torch.arange(1, steps)
    intervals = interval_pairs(mean_intervals(per_target.numpy(), SIZE))
    targets = per_target.mean(0)
    rows = [
        {
            "metric": "mean effect of earlier steps",
            "step": step,
            "value": float(targets[step - 1]),
            **ends(intervals[step - 1]),
            "each": round_digits(per_target[:, step - 1].tolist()),
            **texts.metadata,
        }
        for step in range(1, steps)
    ]
    return {
        "rows": rows,
        "data": {
            "coordinates": [list(place) for place in traced.coordinates],
            "max": _rounded(effects.amax(0).numpy()),
            "mean": _rounded(effects.mean(0).numpy()),
            "low": _rounded(low.reshape(shape)),  # None where no text has an effect
            "high": _rounded(high.reshape(shape)),
            **texts.metadata,
        },
    }


def _rounded(values: Any) -> list[list[float | None]]:
    rows = (round_digits(row) for row in np.asarray(values))
    return [[None if math.isnan(value) else value for value in row] for row in rows]


def table(records: Sequence[Record]) -> Table:
    """The three steps of each model that depend most on what came before them."""
    lines: Table = []
    for record in records:
        most = sorted(record["rows"], key=lambda row: -row["value"])[:3]
        coordinates = record["data"]["coordinates"]
        for row in most:
            layer, loop = coordinates[row["step"]]
            lines.append(
                {
                    "model": record["cell"]["model"],
                    **record["cell"]["params"],
                    "step": row["step"],
                    "layer": layer,
                    "loop": loop,
                    "mean effect of earlier steps": row["value"],
                    "low": row["low"],
                    "high": row["high"],
                    "texts": row["n"],
                    "skip_front": skipped_front(record),
                }
            )
    return lines


def chart(records: Sequence[Record]) -> Any:
    """A heatmap for each model: the step taken away against the step looked at.

    Models share their colours, so that they can be compared; each measure has its own.
    """
    alt = charts.altair()
    kinds: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        params = record["cell"]["params"]
        kinds.setdefault((params["measure"], params["where"]), []).append(record)
    rows = []
    for some in kinds.values():
        inside = sorted(value["effect"] for record in some for value in _upper(record))
        top = inside[round(0.98 * (len(inside) - 1))]  # one cell must not hide the rest
        panels = [_heatmap(record, top) for record in some]
        rows.append(alt.hconcat(*panels).resolve_scale(color="shared"))
    columns = 2 if len(records) == len(kinds) else 1
    return alt.concat(*rows, columns=columns).resolve_scale(color="independent")


def _upper(record: Record) -> list[dict[str, Any]]:
    return [
        {"source": i, "target": j, "effect": value}
        for i, row in enumerate(record["data"]["max"])
        for j, value in enumerate(row)
        if j > i
    ]


def _heatmap(record: Record, top: float) -> Any:
    alt = charts.altair()
    params, model = record["cell"]["params"], record["cell"]["model"]
    size = max(180, min(420, 14 * len(record["data"]["max"])))
    about = f"{params['measure']}, {params['where']} tokens, {record['data']['n']} texts"
    how = f"schedule {record['model']['schedule']}, skip_front {skipped_front(record)}"
    title = alt.Title(model, subtitle=[about, how])
    return (
        alt.Chart(charts.rows(_upper(record)), title=title)
        .mark_rect()
        .encode(
            x=charts.steps_axis("target", "effect on step"),
            y=alt.Y("source:O", title="step taken away", axis=alt.Axis(labelOverlap="greedy")),
            color=charts.heat(
                "effect", "relative change (maximum; above the scale: its end)", [0, top]
            ),
            tooltip=["source:O", "target:O", "effect:Q"],
        )
        .properties(width=size, height=size)
    )


STUDY = Study(
    name="local-effects",
    asks="Which layer depends directly on which earlier one, and does a pattern repeat with the "
    "looped or grown block?",
    figure="Figures 7 and 10",
    cost="half as many forward passes a text as the model has steps (times --cuts for future)",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("measure", "where", "step"),
)
