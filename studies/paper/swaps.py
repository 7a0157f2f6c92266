"""Whether the order of layers matters (paper Figures 1 and 8).

Two blocks of one or more steps change places, and accuracy or next-token loss is measured. By
default each block swaps with the one after it; ``--pairs all`` swaps every two, which gives the
matrix of how sensitive the model is to its order.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...core.errors import InputError, one_of, whole
from ...core.significance import holm
from ...core.statistics import SHARE, SIZE, Interval, ends, mean_interval
from ...models import Schedule
from ...models.looping.config import current_schedule
from ...tasks.questions import task_names
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import accuracy_row, against, ask, check_accuracy, right_answers
from ..measure.schedule_sweep import Sweep
from ..measure.texts import check_texts, digits, read_texts
from ..study import Cell, Record, Study, Table, option, settled

PAIRS = ("adjacent", "all")
LOSS = "loss"  # in the place of a task


@dataclass(frozen=True)
class Options:
    """What is measured."""

    tasks: tuple[str, ...] = option(
        ("variable_assignment_math_d0",), "tasks; loss is the next-token loss on --text"
    )
    sizes: tuple[int, ...] = option((1, 2), "steps in a block")
    pairs: str = option("adjacent", "adjacent blocks, or all pairs")
    items: int = option(200, "questions a task")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    split: str = option("test", "test or validation")
    text: str | None = option(None, "file of prompts for loss; by default generated questions")
    texts: int = option(32, "how many of them")
    tokens: int = option(256, "tokens of each, at most")
    seed: int = option(0, "which questions and examples are drawn")


def swaps(schedule: Schedule, size: int, pairs: str) -> list[tuple[int, int]]:
    """The pairs of first steps of blocks that change places.

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
    """The swaps of neighbouring blocks in the middle half of the steps that change something.

    Two neighbours of a looped model may be the same layers: nothing changes places then.

    Args:
        layers: the layer of each step.

    >>> middle(range(8), 1), middle(range(8), 2), middle([0, 1] * 3, 2)
    ([(2, 3), (3, 4), (4, 5)], [(2, 4)], [])
    """
    first, last = len(layers) // 4, len(layers) - len(layers) // 4
    return [
        (start, start + size)
        for start in range(first, last - 2 * size + 1)
        if list(layers[start : start + size]) != list(layers[start + size : start + 2 * size])
    ]


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model, task and size."""
    one_of("choice of pairs", options.pairs, PAIRS)
    tasks = [name for name in options.tasks if name != LOSS]
    check_accuracy(tasks, options.items, options.shots, options.seed, options.split)
    if LOSS in options.tasks:
        check_texts(options.text, options.texts, options.tokens)
    for size in options.sizes:
        for model in models:
            whole("the size of a block", size, 1, 10_000)
            if not swaps(model.schedule, size, options.pairs):
                raise InputError(
                    f"{model.name} runs {len(model.schedule)} steps: no two blocks of {size}"
                )
    names = [*task_names(tasks), *([LOSS] if LOSS in options.tasks else [])]
    kept = settled(options, "tasks", "sizes", "pairs")
    return [
        Cell(
            "swaps",
            model.name,
            model.path,
            {"task": name, "size": size, "pairs": options.pairs},
            kept,
        )
        for model in models
        for name in names
        for size in options.sizes
    ]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """All swaps of a size, and the model as it is."""
    model, tokenizer = loaded(cell.path)
    base = current_schedule(model)
    size = cell.params["size"]
    places = swaps(base, size, cell.params["pairs"])
    schedules = [base, *(base.swap(first, second, size) for first, second in places)]
    about: list[dict[str, int | None]] = [{"first": None, "second": None, "swapped": 0}]
    about += [{"first": a, "second": b, "swapped": size} for a, b in places]
    for place, schedule in zip(about[1:], schedules[1:], strict=True):
        place["changes"] = schedule != base
    if cell.params["task"] == LOSS:
        texts = read_texts(tokenizer, options.text, options.texts, options.tokens, options.seed)
        sweep = Sweep(model, schedules)
        every = loaded.each(texts.ids, "texts")
        losses = torch.stack([sweep.losses(ids.to(model.device)) for ids in every], dim=1)
        rows = [
            loss_row(values.tolist(), losses[0].tolist(), **place, **texts.about)
            for values, place in zip(losses, about, strict=True)
        ]
        return {"rows": rows, "data": {}}
    asked = ask(loaded, cell.params["task"], options, options.split)
    right = right_answers(loaded, asked, schedules)
    rows = [
        accuracy_row(values, asked, **place) for values, place in zip(right, about, strict=True)
    ]
    rows = [row | against(row, rows[0]) for row in rows]
    return {"rows": rows, "data": {}}


def _changes(record: Record, row: dict[str, Any]) -> bool:
    """Whether other layers change places, not the same layers of two loops."""
    layers, size = record["model"]["layers"], row["swapped"]
    first, second = (layers[start : start + size] for start in (row["first"], row["second"]))
    return bool(first != second)


def _range(task: str) -> Interval:
    return SIZE if task == LOSS else SHARE


def loss_row(values: list[float], plain: list[float], **more: Any) -> dict[str, Any]:
    """A row of losses a text, with intervals over texts, beside the model as it is."""
    changes = [a - b for a, b in zip(values, plain, strict=True)]
    return {
        "task": LOSS,
        "metric": "nats a token",
        "value": statistics.fmean(values),
        **ends(mean_interval(values, SIZE)),
        "difference": statistics.fmean(changes),
        **ends(mean_interval(changes), "difference_"),
        "chance": None,
        "each": digits(values),
        **more,
    }


@seeds.over_seeds("task", "size", "swap", within=lambda row: _range(row["task"]))
def table(records: Sequence[Record]) -> Table:
    """The model as it is, and the mean over all swaps, the least and the most harmful one.

    Swaps of a looped model that change nothing are not counted.
    """
    lines: Table = []
    for record in records:
        plain, *_ = record["rows"]
        swapped = [row for row in record["rows"][1:] if _changes(record, row)]
        worse = -1 if plain["task"] == LOSS else 1
        order = sorted(swapped, key=lambda row: worse * row["value"])
        corrected = holm([row["p"] for row in swapped]) if "p" in plain else []
        changed = sum(p < 0.05 for p in corrected) if corrected else None
        common = {
            "model": record["cell"]["model"],
            "task": plain["task"],
            "size": record["cell"]["params"]["size"],
            "n": plain["n"],
        }
        mean = statistics.fmean(row["value"] for row in swapped) if swapped else None
        ends = [("as it is", plain)]
        if swapped:  # else the blocks of a looped model are all the same layers
            ends += [("most harmful", order[0]), ("least harmful", order[-1])]
        for name, row in ends:
            place = "" if row["first"] is None else f" {row['first']}-{row['second']}"
            lines.append(
                common
                | {"swap": name + place, "value": row["value"], "low": row["low"]}
                | {"high": row["high"], "chance": row["chance"]}
                | {"swaps": None, "differ (Holm)": None}
            )
        lines.append(
            common
            | {"swap": "mean of swaps", "value": mean, "low": None, "high": None}
            | {"chance": plain["chance"], "swaps": len(swapped), "differ (Holm)": changed}
        )
    return lines


def chart(records: Sequence[Record]) -> Any:
    """The measure against the first step of the swap; a matrix where all pairs were swapped."""
    alt = charts.altair()
    grids = [r for r in records if r["cell"]["params"]["pairs"] == "all"]
    panels = _matrices(grids)
    lines = [r for r in records if r["cell"]["params"]["pairs"] == "adjacent"]
    names = seeds.names(records)
    for kind in dict.fromkeys((r["rows"][0]["task"], r["cell"]["params"]["size"]) for r in lines):
        panels.append(_lines([r for r in lines if _kind(r) == kind], *kind, names))
    return alt.concat(*panels, columns=2).resolve_scale(color="independent" if grids else "shared")


def _kind(record: Record) -> tuple[str, int]:
    return record["rows"][0]["task"], record["cell"]["params"]["size"]


def _lines(records: Sequence[Record], task: str, size: int, names: list[str]) -> Any:
    alt = charts.altair()
    points: list[dict[str, Any]] = []
    plain: list[dict[str, Any]] = []
    for record in records:
        model = record["cell"]["model"]
        for row in record["rows"]:
            (points if row["first"] is not None else plain).append({"model": model, **row})
    within = _range(task)
    points = seeds.lines(records, points, "first", within=within)
    plain = seeds.lines(records, plain, within=within)
    title = "next-token loss (nats)" if task == LOSS else "accuracy"
    what = "single layers" if size == 1 else f"blocks of {size} layers"
    about = f"{what} swapped with the next, n = {points[0]['n']}"
    said = "bands: 95 %, dashed: as it is" + ("" if task == LOSS else ", dotted: chance")
    base = alt.Chart(
        charts.rows(points),
        title=alt.Title(task, subtitle=[about, said]),
    ).encode(
        x=charts.steps_line("first", "first step of the swap"), color=charts.colour("model", names)
    )
    line = base.mark_line(point={"size": 18}).encode(
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        strokeDash=charts.dash("model", names),
        tooltip=["model:N", "first:Q", "second:Q", "value:Q", "low:Q", "high:Q"],
    )
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q"
    )
    rule = (
        alt.Chart(charts.rows(plain))
        .mark_rule(strokeDash=[4, 3], size=1.5)
        .encode(y="value:Q", color=charts.colour("model", names))
    )
    layers = [band, line, rule]
    if points[0]["chance"] is not None:
        chance = alt.Chart(charts.rows([{"chance": points[0]["chance"]}]))
        layers.append(chance.mark_rule(color="#888", strokeDash=[1, 3]).encode(y="chance:Q"))
    return alt.layer(*layers).properties(width=360, height=220)


def _matrices(records: Sequence[Record]) -> list[Any]:
    """A panel for each model, task and size."""
    panels = []
    for kind in dict.fromkeys(map(_kind, records)):
        some = [record for record in records if _kind(record) == kind]
        rows = [{"model": r["cell"]["model"], **row} for r in some for row in r["rows"]]
        rows = seeds.lines(some, rows, "first", "second", of=("value", "difference"))
        for name in seeds.names(some):
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
    asks="How much does a model lose when layers, or blocks of them, change places?",
    figure="Figures 1 and 8",
    cost="half as many forward passes an item as there are swaps (steps - size, or all pairs)",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("swapped",),
    over=("first", "second"),
)
