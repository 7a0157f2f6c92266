"""Weight similarity of layers: growing leaves similar layers one block apart. Beyond the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..options import option, recorded_options
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table


@dataclass(frozen=True)
class Options:
    """Options of weight-similarity."""

    apart: tuple[int, ...] = option(
        (1, 2, 3, 4, 5, 6, 7, 8), "distances between layers to average over"
    )


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model."""
    for model in models:
        if not any(0 < size < model.layers for size in options.apart):
            raise InputError(
                f"{model.name} has {model.layers} layers: none of the distances "
                f"{', '.join(map(str, options.apart))} is between two of them"
            )
    recorded = recorded_options(options)
    return [
        StudyCell("weight-similarity", model.name, model.path, {}, recorded) for model in models
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure the similarity of every two unique layers, and its mean at each distance."""
    from ...models import block_similarity, layer_similarity

    similarity = layer_similarity(loader.load(cell.path))
    rows = []
    for size in options.apart:
        if 0 < size < len(similarity):
            values = similarity.diagonal(size)
            deviation = float(values.std()) if len(values) > 1 else None
            rows.append(
                Row.make(
                    metric="cosine similarity of weights",
                    apart=size,
                    value=block_similarity(similarity, size),
                    deviation=deviation,
                    n=len(values),
                )
            )
    matrix = [[float(f"{value:.5g}") for value in row] for row in similarity.tolist()]
    return Measurement(rows, {"similarity": matrix})


def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate mean similarities by distance; over all pairs of layers, so without intervals."""
    return [
        {
            "model": record.model_name,
            "layers apart": row["apart"],
            "mean": row.value,
            "standard deviation": row["deviation"],
            "pairs": row.n,
        }
        for record in records
        for row in record.rows
    ]


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a heatmap for each model, all on one colour scale."""
    alt = charts.altair()
    panels = []
    top = max(map(_scale_end, records))
    for record in records:
        matrix = record.data["similarity"]
        values = [
            {"layer": i, "other": j, "similarity": value}
            for i, row in enumerate(matrix)
            for j, value in enumerate(row)
            if i != j
        ]
        size = max(180, min(420, 14 * len(matrix)))
        panels.append(
            alt.Chart(charts.rows(values), title=record.model_name)
            .mark_rect()
            .encode(
                x=charts.steps_axis("other", "layer"),
                y=alt.Y("layer:O", title="layer", axis=alt.Axis(labelOverlap="greedy")),
                color=charts.heat("similarity", "cosine similarity of weights", [0, top]),
                tooltip=["layer:O", "other:O", "similarity:Q"],
            )
            .properties(width=size, height=size)
        )
    return alt.hconcat(*panels)


def _scale_end(record: StudyRecord) -> float:
    """Return the largest similarity of two layers, at least 0.1, so that noise looks like noise."""
    matrix: list[list[float]] = record.data["similarity"]
    others = [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j]
    return max(0.1, *others)


STUDY = Study(
    name="weight-similarity",
    question="Are the weights of layers one block apart alike, as growing leaves them?",
    figure="beyond the paper",
    cost="no forward pass; reads the weights once",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
)
