"""Swaps: does the order of layers matter (paper Figures 1 and 8)?

Two blocks of one or more steps are swapped, and accuracy or next-token loss is measured. By default
each block is swapped with the next one; ``--pairs all`` swaps every two blocks, which gives a
matrix of the model's sensitivity to its order.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.schedule import Schedule
from ...core.significance import holm
from ...core.statistics import SHARE, SIZE, Interval
from ...tasks.questions import task_names
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import (
    accuracy_row,
    check_accuracy,
    item_correctness,
    load_questions,
    with_difference,
)
from ..measure.losses import LOSS, loss_row
from ..measure.prompts import check_prompts, read_prompts
from ..options import (
    QuestionOptions,
    option,
    recorded_options,
    split_option,
    tasks_option,
    text_option,
    texts_option,
    tokens_option,
)
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table

PAIRS = ("adjacent", "all")


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of swaps."""

    tasks: tuple[str, ...] = tasks_option(
        "variable_assignment_math_d0", about="tasks; loss is the next-token loss on --text"
    )
    sizes: tuple[int, ...] = option((1, 2), "steps in a block", flags="--block-size")
    pairs: str = option("adjacent", "pairs of blocks: adjacent, all")
    split: str = split_option()
    text: str | None = text_option("file of prompts for loss; by default generated questions")
    texts: int = texts_option(32)
    tokens: int = tokens_option(256)


def swaps(schedule: Schedule, size: int, pairs: str) -> list[tuple[int, int]]:
    """Return first steps of the pairs of blocks to swap.

    >>> swaps(Schedule.plain(4), 1, "adjacent"), swaps(Schedule.plain(4), 2, "all")
    ([(0, 1), (1, 2), (2, 3)], [(0, 2)])
    """
    last = len(schedule) - size
    return [
        (first, second)
        for first in range(last + 1)
        for second in range(first + size, last + 1)
        if pairs == "all" or second == first + size
    ]


def middle(layers: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Return swaps of neighbouring blocks in the middle half of the steps.

    Swaps of equal layers, which change nothing, are left out: neighbours in a looped model.

    Args:
        layers: unique layer of each step.

    >>> middle(range(8), 1), middle(range(8), 2), middle([0, 1] * 3, 2)
    ([(2, 3), (3, 4), (4, 5)], [(2, 4)], [])
    """
    first, last = len(layers) // 4, len(layers) - len(layers) // 4
    return [
        (start, start + size)
        for start in range(first, last - 2 * size + 1)
        if list(layers[start : start + size]) != list(layers[start + size : start + 2 * size])
    ]


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model, task and size of block."""
    one_of("choice of pairs", options.pairs, PAIRS)
    tasks = [name for name in options.tasks if name != LOSS]
    check_accuracy(tasks, options.items, options.shots, options.seed, options.split)
    if LOSS in options.tasks:
        check_prompts(options.text, options.texts, options.tokens)
    for size in options.sizes:
        for model in models:
            whole("the size of a block", size, 1, 10_000)
            if not swaps(model.schedule, size, options.pairs):
                raise InputError(
                    f"{model.name} runs {len(model.schedule)} steps: no two blocks of {size}"
                )
    names = [*task_names(tasks), *([LOSS] if LOSS in options.tasks else [])]
    recorded = recorded_options(options, "tasks", "sizes", "pairs")
    return [
        StudyCell(
            "swaps",
            model.name,
            model.path,
            {"task": name, "size": size, "pairs": options.pairs},
            recorded,
        )
        for model in models
        for name in names
        for size in options.sizes
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure all swaps of blocks of a size, and the model as it is."""
    import torch

    from ...models.looping.config import current_schedule
    from ..measure.schedule_sweep import ScheduleSweep

    model, tokenizer = loader(cell.path)
    base = current_schedule(model)
    size = cell.params["size"]
    places = swaps(base, size, cell.params["pairs"])
    schedules = [base, *(base.swap(first, second, size) for first, second in places)]
    about: list[dict[str, int | None]] = [{"first": None, "second": None, "swapped": 0}]
    about += [{"first": a, "second": b, "swapped": size} for a, b in places]
    for place, schedule in zip(about[1:], schedules[1:], strict=True):
        place["changes"] = schedule != base
    if cell.params["task"] == LOSS:
        texts = read_prompts(
            tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
        )
        sweep = ScheduleSweep(model, schedules)
        every = loader.with_bar(texts.ids, "texts")
        losses = torch.stack([sweep.losses(ids.to(model.device)) for ids in every], dim=1)
        rows = [
            loss_row(values.tolist(), losses[0].tolist(), **place, **texts.metadata)
            for values, place in zip(losses, about, strict=True)
        ]
        return Measurement(rows)
    questions = load_questions(loader, cell.params["task"], options, options.split)
    right = item_correctness(loader, questions, schedules)
    rows = [
        accuracy_row(values, questions, **place) for values, place in zip(right, about, strict=True)
    ]
    return Measurement([with_difference(row, rows[0]) for row in rows])


def _changes_order(record: StudyRecord, row: Row) -> bool:
    """Return whether a swap changes the order of layers; two loops have equal layers."""
    layers, size = record.model.layers, row["swapped"]
    first, second = (layers[start : start + size] for start in (row["first"], row["second"]))
    return bool(first != second)


def _range(task: str) -> Interval:
    return SIZE if task == LOSS else SHARE


@seed_aggregation.with_seed_means("task", "size", "swap", within=lambda row: _range(row["task"]))
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate the model as it is, the most and least harmful swap, and the mean over swaps.

    Swaps of equal layers in a looped model do not count.
    """
    lines: Table = []
    for record in records:
        plain, *_ = record.rows
        swapped = [row for row in record.rows[1:] if _changes_order(record, row)]
        sign = -1 if plain.task == LOSS else 1
        order = sorted(swapped, key=lambda row: sign * row.value)
        corrected = holm([row["p"] for row in swapped]) if "p" in plain else []
        changed = sum(p < 0.05 for p in corrected) if corrected else None
        common = {
            "model": record.model_name,
            "task": plain.task,
            "size": record.params["size"],
            "n": plain.n,
        }
        mean = statistics.fmean(row.value for row in swapped) if swapped else None
        selected = [("as it is", plain)]
        if swapped:  # none where all blocks of a looped model are the same layers
            selected += [("most harmful", order[0]), ("least harmful", order[-1])]
        for name, row in selected:
            place = "" if row["first"] is None else f" {row['first']}-{row['second']}"
            lines.append(
                common
                | {"swap": name + place, "value": row.value, "low": row.low}
                | {"high": row.high, "chance": row.chance}
                | {"swaps": None, "differ (Holm)": None}
            )
        lines.append(
            common
            | {"swap": "mean of swaps", "value": mean, "low": None, "high": None}
            | {"chance": plain.chance, "swaps": len(swapped), "differ (Holm)": changed}
        )
    return lines


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw the measure against the first step of the swap; all pairs as a matrix."""
    alt = charts.altair()
    grids = [r for r in records if r.params["pairs"] == "all"]
    panels = _matrices(grids)
    lines = [r for r in records if r.params["pairs"] == "adjacent"]
    names = seed_aggregation.legend_names(records)
    for kind in dict.fromkeys((r.rows[0].task, r.params["size"]) for r in lines):
        panels.append(_lines([r for r in lines if _task_and_size(r) == kind], *kind, names))
    return alt.concat(*panels, columns=2).resolve_scale(color="independent" if grids else "shared")


def _task_and_size(record: StudyRecord) -> tuple[str, int]:
    return record.rows[0].task, record.params["size"]


def _lines(records: Sequence[StudyRecord], task: str, size: int, names: list[str]) -> Any:
    alt = charts.altair()
    points: list[dict[str, Any]] = []
    plain: list[dict[str, Any]] = []
    for record in records:
        model = record.model_name
        for row in record.rows:
            (points if row["first"] is not None else plain).append(
                {"model": model, **row.to_json()}
            )
    within = _range(task)
    points = seed_aggregation.seed_means(records, points, "first", within=within)
    plain = seed_aggregation.seed_means(records, plain, within=within)
    title = "next-token loss (nats)" if task == LOSS else "accuracy"
    noun = "single layers" if size == 1 else f"blocks of {size} layers"
    about = f"{noun} swapped with the next, n = {points[0]['n']}"
    legend = "bands: 95 %, dashed: as it is" + ("" if task == LOSS else ", dotted: chance")
    base = alt.Chart(
        charts.rows(points),
        title=alt.Title(task, subtitle=[about, legend]),
    ).encode(
        x=charts.steps_line("first", "first step of the swap"), color=charts.colour("model", names)
    )
    tooltip = ["model:N", "first:Q", "second:Q", "value:Q", "low:Q", "high:Q"]
    layers = charts.line_with_band(
        base,
        alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        names,
        point={"size": 18},
        opacity=0.2,
        line_options={"tooltip": tooltip},
    )
    rule = (
        alt.Chart(charts.rows(plain))
        .mark_rule(strokeDash=[4, 3], size=1.5)
        .encode(y="value:Q", color=charts.colour("model", names))
    )
    layers.append(rule)
    if points[0]["chance"] is not None:
        layers.append(charts.chance_line(points[0]["chance"]))
    return alt.layer(*layers).properties(width=360, height=220)


def _matrices(records: Sequence[StudyRecord]) -> list[Any]:
    """Draw a matrix for each model, task and size."""
    panels = []
    for kind in dict.fromkeys(map(_task_and_size, records)):
        some = [record for record in records if _task_and_size(record) == kind]
        rows = [{"model": r.model_name, **row.to_json()} for r in some for row in r.rows]
        rows = seed_aggregation.seed_means(
            some, rows, "first", "second", of=("value", "difference")
        )
        for name in seed_aggregation.legend_names(some):
            panels.append(_matrix(name, [row for row in rows if row["model"] == name], kind[1]))
    return panels


def _matrix(name: str, rows: list[dict[str, Any]], size: int) -> Any:
    alt = charts.altair()
    plain, *swapped = rows
    title = alt.Title(
        name,
        subtitle=f"{plain['task']}, blocks of {size}, n = {plain['n']}, "
        f"{plain['value']:.3f} as it is",
    )
    values = [
        {"first": row["first"], "second": row["second"], "difference": row["difference"]}
        for row in swapped
    ]
    side = max(180, min(420, 14 * len({value["first"] for value in values})))
    return (
        alt.Chart(charts.rows(values), title=title)
        .mark_rect()
        .encode(
            x=charts.steps_axis("second", "first step of the one block"),
            y=alt.Y(
                "first:O", title="first step of the other", axis=alt.Axis(labelOverlap="greedy")
            ),
            color=charts.heat(
                "difference",
                "change of loss (nats)" if plain["task"] == LOSS else "change of accuracy",
                charts.around_zero([value["difference"] for value in values]),
                signed=True,
            ),
            tooltip=["first:O", "second:O", "difference:Q"],
        )
        .properties(width=side, height=side)
    )


STUDY = Study(
    name="swaps",
    question="How much does a model lose when layers, or blocks of them, change places?",
    figure="Figures 1 and 8",
    cost="half as many forward passes an item as there are swaps (steps - size, or all pairs)",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("swapped",),
    averaged_over=("first", "second"),
)
