"""Local effects: which layer depends on which earlier one (paper Figures 7, 10; Csordás 2025)?

The contribution of a source step is removed, and the relative change of a later step's contribution
is measured: with the source alone removed (local), or with all steps between recomputed
(propagated); at later tokens only (future), or at all tokens. The first token of a prompt keeps its
contribution. The heatmap shows the maximum over tokens and prompts, as in the paper; the mean over
prompts has intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import one_of, whole
from ...core.statistics import SIZE, ends, interval_pairs, mean_intervals
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.prompts import (
    check_prompts,
    check_skip_front,
    read_prompts,
    round_digits,
    skipped_front,
)
from ..options import (
    option,
    recorded_options,
    seed_option,
    skip_front_option,
    text_option,
    texts_option,
    tokens_option,
)
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table

MEASURES = ("local", "propagated")
WHERE = ("future", "all")


@dataclass(frozen=True)
class Options:
    """Options of local-effects."""

    text: str | None = text_option()
    texts: int = texts_option()
    tokens: int = tokens_option()
    measures: tuple[str, ...] = option(("local",), "effects: local, propagated")
    where: tuple[str, ...] = option(("future",), "tokens: future, all")
    cuts: int = option(4, "places between earlier and later tokens, for future")
    skip_front: int = skip_front_option(before=0)
    seed: int = seed_option("seed of generated questions")


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model, measure and choice of tokens."""
    check_prompts(options.text, options.texts, options.tokens)
    whole("cuts", options.cuts, 1, options.tokens - 1)
    check_skip_front(options.skip_front, options.tokens)
    for measure in options.measures:
        one_of("measure", measure, MEASURES)
    for where in options.where:
        one_of("place", where, WHERE)
    recorded = recorded_options(options, "measures", "where")
    return [
        StudyCell(
            "local-effects", model.name, model.path, {"measure": measure, "where": where}, recorded
        )
        for model in models
        for measure in options.measures
        for where in options.where
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure the heatmap of a model."""
    import torch

    from ...models import diagnostics

    model, tokenizer = loader(cell.path)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    local = cell.params["measure"] == "local"
    measure_effects = diagnostics.local_effects if local else diagnostics.propagated_effects
    per_text = []
    for ids in loader.with_bar(texts.ids, "texts"):
        traced = diagnostics.trace(model, ids.to(model.device))
        future = cell.params["where"] == "future"
        cuts = diagnostics.future_cuts(ids.shape[1], options.cuts) if future else None
        per_text.append(measure_effects(traced, cuts, skip_front=options.skip_front)[0])
    effects = torch.stack(per_text)  # (texts, source, target)
    steps = effects.shape[1]
    values = effects.flatten(1).double().numpy()
    low, high = mean_intervals(values, SIZE)
    shape = (steps, steps)
    # mean effect of all earlier steps on a step: the vertical lines of the heatmap
    per_target = effects.double().sum(1)[:, 1:] / torch.arange(1, steps)
    intervals = interval_pairs(mean_intervals(per_target.numpy(), SIZE))
    targets = per_target.mean(0)
    rows = [
        Row.make(
            metric="mean effect of earlier steps",
            step=step,
            value=float(targets[step - 1]),
            **ends(intervals[step - 1]),
            each=round_digits(per_target[:, step - 1].tolist()),
            **texts.metadata,
        )
        for step in range(1, steps)
    ]
    data = {
        "coordinates": [list(place) for place in traced.coordinates],
        "max": _rounded(effects.amax(0).numpy()),
        "mean": _rounded(effects.mean(0).numpy()),
        "low": _rounded(low.reshape(shape)),  # None where no prompt has an effect
        "high": _rounded(high.reshape(shape)),
        **texts.metadata,
    }
    return Measurement(rows, data)


def _rounded(values: Any) -> list[list[float | None]]:
    rows = (round_digits(row) for row in np.asarray(values))
    return [[None if math.isnan(value) else value for value in row] for row in rows]


def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate the three steps of each model that depend most on earlier steps."""
    lines: Table = []
    for record in records:
        most = sorted(record.rows, key=lambda row: -row.value)[:3]
        coordinates = record.data["coordinates"]
        for row in most:
            layer, loop = coordinates[row["step"]]
            lines.append(
                {
                    "model": record.model_name,
                    **record.params,
                    "step": row["step"],
                    "layer": layer,
                    "loop": loop,
                    "mean effect of earlier steps": row.value,
                    "low": row.low,
                    "high": row.high,
                    "texts": row.n,
                    "skip_front": skipped_front(record),
                }
            )
    return lines


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a heatmap for each model: the removed step against the affected step.

    Models share one colour scale for each measure.
    """
    alt = charts.altair()
    kinds: dict[tuple[str, str], list[StudyRecord]] = {}
    for record in records:
        params = record.params
        kinds.setdefault((params["measure"], params["where"]), []).append(record)
    rows = []
    for some in kinds.values():
        inside = sorted(value["effect"] for record in some for value in _upper(record))
        top = inside[round(0.98 * (len(inside) - 1))]  # one cell must not hide the rest
        panels = [_heatmap(record, top) for record in some]
        rows.append(alt.hconcat(*panels).resolve_scale(color="shared"))
    columns = 2 if len(records) == len(kinds) else 1
    return alt.concat(*rows, columns=columns).resolve_scale(color="independent")


def _upper(record: StudyRecord) -> list[dict[str, Any]]:
    return [
        {"source": i, "target": j, "effect": value}
        for i, row in enumerate(record.data["max"])
        for j, value in enumerate(row)
        if j > i
    ]


def _heatmap(record: StudyRecord, top: float) -> Any:
    alt = charts.altair()
    params, model = record.params, record.model_name
    size = max(180, min(420, 14 * len(record.data["max"])))
    about = f"{params['measure']}, {params['where']} tokens, {record.data['n']} texts"
    how = f"schedule {record.model.schedule}, skip_front {skipped_front(record)}"
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
    question="Which layer depends directly on which earlier one, and does a pattern repeat with "
    "the looped or grown block?",
    figure="Figures 7 and 10",
    cost="half as many forward passes a prompt as the model has steps (times --cuts for future)",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("measure", "where", "step"),
)
