"""Growth of the residual stream, and contributions of attention and MLP (paper Figures 6, 11).

Periodicity summarises the curves in one number per block size: the autocorrelation of attention's
contributions at a lag of one block (``models.diagnostics.periodicity``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.prompts import check_prompts, read_prompts, round_digits
from ..measure.step_chart import step_chart
from ..options import (
    option,
    recorded_options,
    seed_option,
    text_option,
    texts_option,
    tokens_option,
)
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table

if TYPE_CHECKING:
    import torch

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
    """Options of contributions."""

    text: str | None = text_option()
    texts: int = texts_option()
    tokens: int = tokens_option(256)
    seed: int = seed_option("seed of generated questions")
    show: tuple[str, ...] = option(
        ("residual_norm", "attention_ratio", "mlp_ratio", "layer_ratio"),
        f"measures in the chart, of {', '.join(TITLES)}",
        drawn=True,
    )


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model."""
    check_prompts(options.text, options.texts, options.tokens)
    for name in options.show:
        one_of("measure", name, TITLES)
    recorded = recorded_options(options)
    return [StudyCell("contributions", model.name, model.path, {}, recorded) for model in models]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure contributions at every step of a model."""
    import torch

    from ...models.diagnostics import contributions, trace
    from ...models.diagnostics.periodicity import expected_period

    model, tokenizer = loader(cell.path)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    measures: dict[str, list[torch.Tensor]] = {name: [] for name in TITLES}
    for ids in loader.with_bar(texts.ids, "texts"):
        traced = trace(model, ids.to(model.device), sublayers=True)
        for name, values in contributions(traced).items():
            measures[name].append(values[0].cpu())
    rows: list[Row] = []
    for name, each in measures.items():
        measured = torch.stack(each).double().numpy()  # (texts, steps)
        intervals = interval_pairs(mean_intervals(measured, range_of(name)))
        for step, mean in enumerate(measured.mean(0)):
            layer, loop = traced.coordinates[step]
            rows.append(
                Row.make(
                    metric=name,
                    step=step,
                    layer=layer,
                    loop=loop,
                    value=float(mean),
                    **ends(intervals[step]),
                    each=round_digits(measured[:, step]),
                    **texts.metadata,
                )
            )
    attention = torch.stack(measures["attention_ratio"]).double().numpy()
    rows += [Row.make(**columns, **texts.metadata) for columns in periodicity_columns(attention)]
    assert traced.sublayers is not None
    parallel = [part.parallel for part in traced.sublayers]
    return Measurement(rows, {"parallel": parallel, "block": expected_period(model.config)})


def periodicity_columns(ratios: Array) -> list[dict[str, Any]]:
    """Return the columns of one row per block size: periodicity with its interval over prompts.

    Args:
        ratios: contributions, ``(prompts, steps)``.
    """
    from ...models.diagnostics.periodicity import block_sizes, periodicity

    rows: list[dict[str, Any]] = []
    for size in block_sizes(ratios.shape[1]):
        value = float(periodicity(ratios.mean(0), size))
        if not np.isnan(value):
            error = jackknife_error(ratios, partial(periodicity, block=size))
            interval = error_interval(value, error, len(ratios), CHANGE)
            row = {"metric": PERIODICITY, "block": size, "value": value, **ends(interval)}
            rows.append(row | {"stderr": None if math.isnan(error) else error})
    return rows


def range_of(measure: str) -> Interval:
    """Return the range of a measure, by its name in rows or in the table."""
    return CHANGE if "cosine" in measure or "recurs" in measure else SIZE


@seed_aggregation.with_seed_means(
    "measure", "step", "layer", "loop", of="mean", within=lambda row: range_of(row["measure"])
)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each measure at the first, middle and last step, and the periodicity of attention.

    Blocks have the sizes of the models' own blocks; without any, all sizes.
    """
    lines: Table = []
    own = {record.data["block"] for record in records} - {None}
    for record in records:
        for name in TITLES:
            steps = [row for row in record.rows if row.metric == name]
            for row in (steps[0], steps[len(steps) // 2], steps[-1]):
                lines.append(
                    {
                        "model": record.model_name,
                        "measure": name,
                        "step": row["step"],
                        "layer": row["layer"],
                        "loop": row["loop"],
                        "mean": row.value,
                        "low": row.low,
                        "high": row.high,
                        "texts": row.n,
                    }
                )
        for row in record.rows:
            if row.metric == PERIODICITY and (not own or row["block"] in own):
                lines.append(
                    {
                        "model": record.model_name,
                        "measure": f"attention recurs after {row['block']} steps",
                        "step": None,
                        "layer": None,
                        "loop": None,
                        "mean": row.value,
                        "low": row.low,
                        "high": row.high,
                        "texts": row.n,
                    }
                )
    return lines


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a panel for each measure: its mean against the step, with the 95 % interval."""
    # norms and ratios: the first layers dwarf the rest
    panels = [
        step_chart(records, name, TITLES[name], range_of(name), not name.endswith("cosine"))
        for name in records[0].data["show"]
    ]
    return charts.altair().concat(*panels, columns=2)


STUDY = Study(
    name="contributions",
    question="How does the residual stream grow, and do attention, MLP and whole layers contribute "
    "in a cycle?",
    figure="Figures 6 and 11",
    cost="one forward pass a prompt",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("step",),
)
