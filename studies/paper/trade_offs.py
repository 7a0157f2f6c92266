"""Trade-offs: accuracy against parameters and FLOPs (paper Figure 4).

A model is compared on the same items with the standard model of equal unique layers (iso-parameter)
and the one of equal effective depth (iso-FLOP). For a looped model with both, the gap closed is its
gain over the first, as a share of the second's gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.significance import corrected
from ...core.statistics import CHANGE, SHARE, Interval
from ...tasks.questions import task_names
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import accuracy_row, item_correctness, load_questions
from ..measure.controls import check_scoring, keep_controlled_tasks, split_controls, with_controls
from ..measure.pooled_accuracy import PooledAnswers, PooledEstimate, pool_answers
from ..options import (
    QuestionOptions,
    control_option,
    recorded_options,
    split_option,
    tasks_option,
)
from ..records import StudyRecord
from ..study import Measurement, Study, Table

PANELS = (
    # field, title of the axis
    ("parameters", "unique parameters"),
    ("inference_flops", "inference FLOPs a token"),
    ("training_flops", "training FLOPs"),
)
SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
CONTROL_COLUMNS = "difference, controlled tasks", "control difference"
SIGNS = {
    "standard": "circle",
    "looped": "square",
    "grown": "triangle-up",
    "grown-looped": "diamond",
    "retrofitted": "cross",
    "untied": "triangle-down",
    "unknown": "triangle-left",
}


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of trade-offs."""

    tasks: tuple[str, ...] = tasks_option()
    split: str = split_option()
    control: str = control_option()


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model and task."""
    check_scoring(options)
    recorded = recorded_options(options, "tasks")
    return [
        StudyCell("trade-offs", model.name, model.path, {"task": name}, recorded)
        for model in models
        for name in task_names(options.tasks)
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure a task under the model's own schedule, and the costs of the model."""
    from ...models.looping.config import current_schedule

    model, _ = loader(cell.path)
    costs = costs_of(model, cell.path)
    base, rows = current_schedule(model), []
    for name, of in with_controls([cell.params["task"]], options.control):
        questions = load_questions(loader, name, options, options.split)
        [right] = item_correctness(loader, questions, [base])
        rows.append(accuracy_row(right, questions, schedule=str(base), **of))
    return Measurement(rows, costs)


def costs_of(model: Any, path: str) -> dict[str, Any]:
    """Return family and costs of a model under its own schedule, and of its run where known.

    Models that differ in their number of layers alone have equal ``shape``.
    """
    from ...models.looping.decoder import decoder_config
    from ..describe import cost_of, model_of

    about = model_of(model, path)
    _, cost = cost_of(model)
    inner = decoder_config(model.config)
    return {
        "family": about.family,
        "growth": [step.operator for step in about.growth],
        "training_seed": about.seed,
        "recipe": about.recipe,
        "inference_flops": cost.inference_flops,
        "seq_len": cost.seq_len,
        "training_flops": about.training_flops,
        "training_tokens": about.training_tokens,
        "shape": [inner.model_type, *(getattr(inner, name, None) for name in SHAPE)],
    }


@dataclass(frozen=True)
class ModelSummary:
    """Description and costs of a model, and the standard models it is compared with.

    Args:
        name, schedule, family: name, schedule and model family.
        layers, runs: number of unique layers, and effective depth.
        parameters: unique parameters.
        inference_flops: FLOPs per token of a forward pass.
        training_flops: FLOPs of the training run; None where not known.
        chance: chance level, averaged over the tasks.
        iso_parameter: standard model of equal unique layers.
        iso_flop: standard model of equal effective depth.
    """

    name: str
    schedule: str
    layers: int
    runs: int
    parameters: int
    family: str
    inference_flops: float
    training_flops: float | None
    chance: float
    iso_parameter: str | None
    iso_flop: str | None


def summaries(records: Sequence[StudyRecord]) -> list[tuple[ModelSummary, PooledAnswers]]:
    """Summarise each model, with the answers of all models that were asked the same questions."""
    models: dict[str, list[StudyRecord]] = {}
    for record in records:
        models.setdefault(record.model_name, []).append(record)
    items = {name: tuple(map(_items, own)) for name, own in models.items()}
    pools = {
        key: pool_answers(
            {
                name: [record.rows[0].answers for record in own]
                for name, own in models.items()
                if items[name] == key
            }
        )
        for key in dict.fromkeys(items.values())
    }
    lines = []
    for name, own in models.items():
        facts, data = own[0].model, own[0].data
        together = pools[items[name]]
        others = {other: models[other][0] for other in together.answers}
        line = ModelSummary(
            name,
            facts.schedule,
            facts.unique_layers,
            facts.effective_depth,
            facts.unique_parameters,
            data["family"],
            data["inference_flops"],
            data["training_flops"],
            sum(record.rows[0].chance or 0.0 for record in own) / len(own),
            _standard(name, others, "unique_layers"),
            _standard(name, others, "effective_depth"),
        )
        lines.append((line, together))
    return lines


def _items(record: StudyRecord) -> tuple[str, ...]:
    """Return the columns that identify the questions of a record."""
    [row] = record.rows
    names = ("fingerprint", "shots", "prompting", "split", "seed", "n")
    return tuple(str(row.get(name)) for name in names)


def _standard(name: str, models: dict[str, StudyRecord], count: str) -> str | None:
    """Return the standard model of equal layers and recipe, with equal seed if there is one.

    None for a standard model.

    Args:
        count: the number that must be equal, ``unique_layers`` or ``effective_depth``.
    """
    facts, data = models[name].model, models[name].data
    if data["family"] == "standard":
        return None
    candidates = [
        (record.data["training_seed"] != data["training_seed"], other)
        for other, record in models.items()
        if record.data["family"] == "standard"
        and getattr(record.model, count) == getattr(facts, count)
        and record.data["shape"] == data["shape"]
        and record.data.get("recipe") == data.get("recipe")  # no other mixture in the cooldown
    ]
    return min(candidates, key=lambda pair: pair[0])[1] if candidates else None


@seed_aggregation.with_seed_means("what", within=lambda row: _range(row["what"]))
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each model's mean, the differences to its standard models, and the gap closed.

    p is of McNemar's test, corrected for the number of comparisons (Holm). Where control questions
    were asked, two columns have the differences on them, and on the tasks that have them.
    """
    records, controls = split_controls(records)
    control_pools = [
        {line.name: together for line, together in summaries(some)}
        for some in (keep_controlled_tasks(records, controls), controls)
        if controls
    ]
    lines: Table = []
    for line, together in summaries(records):
        lines.append(_line(line, together, "mean", "", together.mean(line.name)))
        for other, what in _partners(line).items():
            difference, p = together.difference(line.name, other)
            lines.append(_line(line, together, f"vs {what}", other, difference, p))
            for name, pools in zip(CONTROL_COLUMNS, control_pools, strict=False):
                both = pools.get(line.name)
                if both is not None and {line.name, other} <= both.answers.keys():
                    lines[-1][name] = both.difference(line.name, other)[0].value
        if (gap := _gap(line, together)) is not None:
            what = "gap closed" if gap.value is not None else "gap is within noise"
            lines.append(_line(line, together, what, "", gap))
    lines = corrected(lines)
    empty = {name: None for name in CONTROL_COLUMNS if controls}
    return [row | empty | {name: row[name] for name in empty if name in row} for row in lines]


def _range(what: str) -> Interval | None:
    """Return the range of a table row; a gap closed is unbounded."""
    if what == "mean":
        return SHARE
    return CHANGE if what.startswith("vs ") else None


def _line(
    line: ModelSummary,
    together: PooledAnswers,
    what: str,
    against: str,
    estimate: PooledEstimate,
    p: float | None = None,
) -> dict[str, Any]:
    mean = what == "mean"
    return {
        "model": line.name,
        "schedule": line.schedule if mean else "",
        "unique": line.parameters if mean else None,
        "FLOPs": line.inference_flops if mean else None,
        "training": line.training_flops if mean else None,
        "what": what,
        "against": against,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": p,
        "n": together.items,
        "chance": line.chance if mean else None,
    }


def _partners(line: ModelSummary) -> dict[str, str]:
    """Return the standard models that a model is compared with: name -> what is equal."""
    if line.iso_parameter is not None and line.iso_parameter == line.iso_flop:
        return {line.iso_parameter: "iso-both"}
    pairs = (line.iso_parameter, "iso-param"), (line.iso_flop, "iso-FLOP")
    return {other: what for other, what in pairs if other is not None}


def _gap(line: ModelSummary, together: PooledAnswers) -> PooledEstimate | None:
    """Return the gap that a looped model closes; None where a standard model is missing."""
    low, high = line.iso_parameter, line.iso_flop
    if line.runs == line.layers or low is None or high is None or low == high:
        return None
    return together.gap_closed(line.name, low, high)


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw mean accuracy against parameters and FLOPs, with the Pareto fronts."""
    alt = charts.altair()
    records, _ = split_controls(records)
    models = summaries(records)
    points = []
    for line, together in models:
        mean = together.mean(line.name)
        points.append(
            {name: getattr(line, name) for name, _ in PANELS}
            | {"model": line.name, "family": line.family, "chance": line.chance}
            | {"value": mean.value, "low": mean.low, "high": mean.high}
        )
    numbers = ("value", *(name for name, _ in PANELS))
    points = seed_aggregation.seed_means(records, points, of=numbers, within=SHARE)
    available = [(field, title) for field, title in PANELS if any(point[field] for point in points)]
    panels = [_panel(points, field, title) for field, title in available]
    items = f"n = {models[0][1].items}, bars: 95 % over items"
    if len(points) < len(models):
        items += ", over seeds where there are several"
    title = alt.Title(
        "Accuracy against cost", subtitle=f"{items}; dashed: Pareto front; dotted: chance"
    )
    return alt.hconcat(*panels, title=title)


def _panel(points: list[dict[str, Any]], field: str, title: str) -> Any:
    alt = charts.altair()
    available = [point for point in points if point[field] is not None]
    names = [point["model"] for point in points]
    signs = [SIGNS[point["family"]] for point in points]
    if len(available) < len(points):
        title = f"{title} (known of {len(available)} of {len(points)} models)"
    scale = alt.Scale(type="log", nice=False, padding=15)
    axis = alt.Axis(format=".3~s", tickCount=4)
    x = alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)
    base = alt.Chart(charts.rows(available)).encode(x=x)
    value = alt.Y("value:Q", title="mean accuracy", scale=alt.Scale(zero=False))
    colour = charts.colour("model", names)
    colour.legend = alt.Legend(columns=4, title=None)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=names, range=signs), sort=names, title=None)
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=value, color=colour, shape=shape, tooltip=["model:N", "family:N", "value:Q", f"{field}:Q"]
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q", color=colour)
    front = alt.Chart(charts.rows(list(_front(available, field)))).mark_line(
        interpolate="step-after", strokeDash=[5, 3], color=charts.GREY
    )
    chance = charts.chance_line(available[0]["chance"])
    return alt.layer(front.encode(x=x, y="value:Q"), chance, bars, dots).properties(
        width=270, height=210
    )


def _front(points: list[dict[str, Any]], field: str) -> Iterator[dict[str, Any]]:
    """Yield the points of the Pareto front, the cheapest first, extended to the right."""
    best = -1.0
    for point in sorted(points, key=lambda point: (point[field], -point["value"])):
        if point["value"] > best:
            best = point["value"]
            yield {field: point[field], "value": best}
    yield {field: max(point[field] for point in points), "value": best}


STUDY = Study(
    name="trade-offs",
    question="How accurate are models for their unique parameters, inference and training FLOPs?",
    figure="Figure 4",
    cost="a forward pass for each item",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=(),
)
