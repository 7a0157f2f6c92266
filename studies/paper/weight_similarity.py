"""How alike the weights of layers are: grown models show copies one block apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...models import block_similarity, layer_similarity
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..study import Cell, Record, Study, Table, option, settled


@dataclass(frozen=True)
class Options:
    """What is measured."""

    apart: tuple[int, ...] = option((1, 2, 3, 4, 5, 6, 7, 8), "distances of layers, averaged")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model."""
    for model in models:
        if not any(0 < size < model.layers for size in options.apart):
            raise InputError(
                f"{model.name} has {model.layers} layers: none of the distances "
                f"{', '.join(map(str, options.apart))} is between two of them"
            )
    kept = settled(options)
    return [Cell("weight-similarity", model.name, model.path, {}, kept) for model in models]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """Similarity of every two unique layers, and its mean at each distance."""
    found = layer_similarity(loaded.load(cell.path))
    rows = []
    for size in options.apart:
        if 0 < size < len(found):
            values = found.diagonal(size)
            deviation = float(values.std()) if len(values) > 1 else None
            rows.append(
                {
                    "metric": "cosine similarity of weights",
                    "apart": size,
                    "value": block_similarity(found, size),
                    "deviation": deviation,
                    "n": len(values),
                }
            )
    matrix = [[float(f"{value:.5g}") for value in row] for row in found.tolist()]
    return {"rows": rows, "data": {"similarity": matrix}}


def table(records: Sequence[Record]) -> Table:
    """Mean similarity of layers so far apart; over all pairs of layers, so without intervals."""
    return [
        {
            "model": record["cell"]["model"],
            "layers apart": row["apart"],
            "mean": row["value"],
            "standard deviation": row["deviation"],
            "pairs": row["n"],
        }
        for record in records
        for row in record["rows"]
    ]


def chart(records: Sequence[Record]) -> Any:
    """A heatmap for each model, with the same colours for all."""
    alt = charts.altair()
    panels = []
    top = max(map(_most, records))
    for record in records:
        matrix = record["data"]["similarity"]
        values = [
            {"layer": i, "other": j, "similarity": value}
            for i, row in enumerate(matrix)
            for j, value in enumerate(row)
            if i != j
        ]
        size = max(180, min(420, 14 * len(matrix)))
        panels.append(
            alt.Chart(charts.rows(values), title=record["cell"]["model"])
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


def _most(record: Record) -> float:
    """The largest similarity of two layers; 0.1 where all is noise, which shall look like it."""
    matrix: list[list[float]] = record["data"]["similarity"]
    others = [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j]
    return max(0.1, *others)


STUDY = Study(
    name="weight-similarity",
    asks="Are the weights of layers one block apart alike, as growing leaves them?",
    figure="beyond the paper",
    cost="no forward pass; reads the weights once",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
)
