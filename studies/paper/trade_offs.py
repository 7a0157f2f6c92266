"""What does a model's reasoning cost (paper Figure 4)? Accuracy against parameters and FLOPs.

A model is compared with the standard model of as many unique layers (iso-parameter) and the one of
the same effective depth (iso-FLOP), on the same items. Of a looped model with both, the gap closed
is the share of their difference that looping makes up for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.significance import corrected
from ...core.statistics import CHANGE, SHARE, Interval
from ...models.looping.config import current_schedule
from ...models.looping.decoder import decoder_config
from ...tasks.questions import task_names
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import SPLITS, accuracy_row, ask, check_accuracy, right_answers
from ..measure.controls import ABOUT, NONE, alike, apart, check_control, with_controls
from ..measure.pooled import Estimate, Pool, pool
from ..study import Cell, Record, Study, Table, option, settled

PANELS = (
    # field, title of the axis
    ("parameters", "unique parameters"),
    ("inference_flops", "inference FLOPs a token"),
    ("training_flops", "training FLOPs"),
)
SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
BESIDE = "difference, controlled tasks", "control difference"
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
class Options:
    """What is measured."""

    tasks: tuple[str, ...] = option(("reasoning_primitives",), "tasks or groups of them")
    items: int = option(200, "questions a task")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    split: str = option("test", f"of the questions: {', '.join(SPLITS)}")
    control: str = option(NONE, ABOUT, later=True)
    seed: int = option(0, "which questions and examples are drawn")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model and task."""
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_control(task_names(options.tasks), options.control)
    kept = settled(options, "tasks")
    return [
        Cell("trade-offs", model.name, model.path, {"task": name}, kept)
        for model in models
        for name in task_names(options.tasks)
    ]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """A task under the model's own schedule, and what the model cost."""
    model, _ = loaded(cell.path)
    costs = costs_of(model, cell.path)
    base, rows = current_schedule(model), []
    for name, of in with_controls([cell.params["task"]], options.control):
        asked = ask(loaded, name, options, options.split)
        [right] = right_answers(loaded, asked, [base])
        rows.append(accuracy_row(right, asked, schedule=str(base), **of))
    return {"rows": rows, "data": costs}


def costs_of(model: Any, path: str) -> dict[str, Any]:
    """Kind and cost of a model under its own schedule; of its training what its checkpoint tells.

    ``shape`` is what two models share that differ in their layers alone.
    """
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
class Standing:
    """A model: what it is and costs, and the standard models it is compared with."""

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


def standings(records: Sequence[Record]) -> list[tuple[Standing, Pool]]:
    """The models, each with all that were asked the same questions."""
    models: dict[str, list[Record]] = {}
    for record in records:
        models.setdefault(record["cell"]["model"], []).append(record)
    asked = {name: tuple(map(_asked, found)) for name, found in models.items()}
    pools = {
        key: pool(
            {
                name: [record["rows"][0]["answers"] for record in found]
                for name, found in models.items()
                if asked[name] == key
            }
        )
        for key in dict.fromkeys(asked.values())
    }
    lines = []
    for name, found in models.items():
        about, data = found[0]["model"], found[0]["data"]
        together = pools[asked[name]]
        others = {other: models[other][0] for other in together.answers}
        line = Standing(
            name,
            about["schedule"],
            about["unique_layers"],
            about["effective_depth"],
            about["unique_parameters"],
            data["family"],
            data["inference_flops"],
            data["training_flops"],
            sum(record["rows"][0]["chance"] for record in found) / len(found),
            _standard(name, others, "unique_layers"),
            _standard(name, others, "effective_depth"),
        )
        lines.append((line, together))
    return lines


def _asked(record: Record) -> tuple[str, ...]:
    """What tells the questions of a record from others."""
    [row] = record["rows"]
    names = ("fingerprint", "shots", "prompting", "split", "seed", "n")
    return tuple(str(row.get(name)) for name in names)


def _standard(name: str, models: dict[str, Record], count: str) -> str | None:
    """A standard model with as many layers of a kind, trained alike, of its seed if there is one.

    None for a standard model.
    """
    about, data = models[name]["model"], models[name]["data"]
    if data["family"] == "standard":
        return None
    found = [
        (record["data"]["training_seed"] != data["training_seed"], other)
        for other, record in models.items()
        if record["data"]["family"] == "standard"
        and record["model"][count] == about[count]
        and record["data"]["shape"] == data["shape"]
        and record["data"].get("recipe") == data.get("recipe")  # no other mixture in the cooldown
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


@seeds.over_seeds("what", within=lambda row: _range(row["what"]))
def table(records: Sequence[Record]) -> Table:
    """For each model its mean, the differences to its partners, and the gap closed.

    p is of McNemar's test, corrected for the number of comparisons (Holm). Where questions without
    an answer were asked too, the difference there stands beside that of the tasks that have them.
    """
    records, controls = apart(records)
    beside = [
        {line.name: together for line, together in standings(some)}
        for some in (alike(records, controls), controls)
        if controls
    ]
    lines: Table = []
    for line, together in standings(records):
        lines.append(_line(line, together, "mean", "", together.mean(line.name)))
        for other, what in _partners(line).items():
            difference, p = together.difference(line.name, other)
            lines.append(_line(line, together, f"vs {what}", other, difference, p))
            for name, pools in zip(BESIDE, beside, strict=False):
                both = pools.get(line.name)
                if both is not None and {line.name, other} <= both.answers.keys():
                    lines[-1][name] = both.difference(line.name, other)[0].value
        if (gap := _gap(line, together)) is not None:
            said = "gap closed" if gap.value is not None else "gap is within noise"
            lines.append(_line(line, together, said, "", gap))
    lines = corrected(lines)
    shown = {name: None for name in BESIDE if controls}
    return [row | shown | {name: row[name] for name in shown if name in row} for row in lines]


def _range(what: str) -> Interval | None:
    """The range of a line of the table; a gap closed has none."""
    if what == "mean":
        return SHARE
    return CHANGE if what.startswith("vs ") else None


def _line(
    line: Standing, together: Pool, what: str, against: str, found: Estimate, p: float | None = None
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
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "p": p,
        "n": together.items,
        "chance": line.chance if mean else None,
    }


def _partners(line: Standing) -> dict[str, str]:
    """The standard models that a model is compared with, and what they have in common."""
    if line.iso_parameter is not None and line.iso_parameter == line.iso_flop:
        return {line.iso_parameter: "iso-both"}
    pairs = (line.iso_parameter, "iso-param"), (line.iso_flop, "iso-FLOP")
    return {other: what for other, what in pairs if other is not None}


def _gap(line: Standing, together: Pool) -> Estimate | None:
    """The gap that a looped model closes; None where it has not both partners."""
    low, high = line.iso_parameter, line.iso_flop
    if line.runs == line.layers or low is None or high is None or low == high:
        return None
    return together.gap_closed(line.name, low, high)


def chart(records: Sequence[Record]) -> Any:
    """Mean accuracy against parameters, inference and training FLOPs, with each Pareto front."""
    alt = charts.altair()
    records, _ = apart(records)
    found = standings(records)
    points = []
    for line, together in found:
        mean = together.mean(line.name)
        points.append(
            {name: getattr(line, name) for name, _ in PANELS}
            | {"model": line.name, "family": line.family, "chance": line.chance}
            | {"value": mean.value, "low": mean.low, "high": mean.high}
        )
    numbers = ("value", *(name for name, _ in PANELS))
    points = seeds.lines(records, points, of=numbers, within=SHARE)
    known = [(field, title) for field, title in PANELS if any(point[field] for point in points)]
    panels = [_panel(points, field, title) for field, title in known]
    items = f"n = {found[0][1].items}, bars: 95 % over items"
    if len(points) < len(found):
        items += ", over seeds where there are several"
    title = alt.Title(
        "Accuracy against cost", subtitle=f"{items}; dashed: Pareto front; dotted: chance"
    )
    return alt.hconcat(*panels, title=title)


def _panel(points: list[dict[str, Any]], field: str, title: str) -> Any:
    alt = charts.altair()
    known = [point for point in points if point[field] is not None]
    names = [point["model"] for point in points]
    signs = [SIGNS[point["family"]] for point in points]
    if len(known) < len(points):
        title = f"{title} (known of {len(known)} of {len(points)} models)"
    scale = alt.Scale(type="log", nice=False, padding=15)
    axis = alt.Axis(format=".3~s", tickCount=4)
    x = alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)
    base = alt.Chart(charts.rows(known)).encode(x=x)
    value = alt.Y("value:Q", title="mean accuracy", scale=alt.Scale(zero=False))
    colour = charts.colour("model", names)
    colour.legend = alt.Legend(columns=4, title=None)
    shape = alt.Shape("model:N", scale=alt.Scale(domain=names, range=signs), sort=names, title=None)
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=value, color=colour, shape=shape, tooltip=["model:N", "family:N", "value:Q", f"{field}:Q"]
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q", color=colour)
    front = alt.Chart(charts.rows(list(_front(known, field)))).mark_line(
        interpolate="step-after", strokeDash=[5, 3], color="#888"
    )
    chance = alt.Chart(charts.rows(known[:1])).mark_rule(strokeDash=[1, 3], color="#888")
    return alt.layer(
        front.encode(x=x, y="value:Q"), chance.encode(y="chance:Q"), bars, dots
    ).properties(width=270, height=210)


def _front(points: list[dict[str, Any]], field: str) -> Iterator[dict[str, Any]]:
    """The models that none beats at the same cost or less, the cheapest first; on to the right."""
    best = -1.0
    for point in sorted(points, key=lambda point: (point[field], -point["value"])):
        if point["value"] > best:
            best = point["value"]
            yield {field: point[field], "value": best}
    yield {field: max(point[field] for point in points), "value": best}


STUDY = Study(
    name="trade-offs",
    asks="How accurate are models for their unique parameters, inference FLOPs and training FLOPs?",
    figure="Figure 4",
    cost="a forward pass for each item",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=(),
)
