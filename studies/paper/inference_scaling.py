"""Inference scaling: does repeating a block help without training (paper Figures 2, 9, 14, 15)?

The whole grid of first step × repeats is measured on validation and test items. The block and its
repeats are chosen on validation items; the gain reported is that choice's gain on test items, never
the best of the test items. A counterfactual control is measured too: questions whose answer cannot
be derived from the prompt (``cut``), where a gain is not reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.schedule import Schedule
from ...core.significance import corrected, paired
from ...core.statistics import CHANGE, SHARE, ends
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
from ..measure.controls import CONTROLS, control_task
from ..options import (
    QuestionOptions,
    control_option,
    items_option,
    option,
    recorded_options,
    tasks_option,
)
from ..records import NO_CONTROL, Row, StudyRecord
from ..study import Measurement, SharedPass, Study, Table

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of inference-scaling."""

    tasks: tuple[str, ...] = tasks_option(
        "variable_assignment_math_d0", "variable_assignment_code_d0"
    )
    block: int = option(4, "steps in the block", flags="--block-size")
    starts: tuple[int, ...] = option((), "first steps of the block; by default all possible ones")
    times: tuple[int, ...] = option((1, 2, 3), "extra passes of the block", flags="--repeats")
    items: int = items_option(about="questions a task, of each split")
    control: str = control_option("cut", later=False)


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model, task and first step of the block."""
    whole("the block", options.block, 1, 10_000)
    one_of("control", options.control, CONTROLS)
    for times in options.times:
        whole("repeats", times, 1, 1000)
    for split in SPLITS:
        check_accuracy(options.tasks, options.items, options.shots, options.seed, split)
    recorded = recorded_options(options, "tasks", "starts", "block")
    cells = []
    for model in models:
        last = len(model.schedule) - options.block
        if last < 0:
            raise InputError(
                f"{model.name} runs {len(model.schedule)} steps, fewer than a block of "
                f"{options.block}"
            )
        for start in options.starts:
            if not 0 <= start <= last:
                raise InputError(
                    f"a block of {options.block} steps at {start} is beyond {model.name}, which "
                    f"runs {len(model.schedule)} steps: starts go from 0 to {last}"
                )
        for name in task_names(options.tasks):
            for start in options.starts or range(last + 1):
                params = {"task": name, "block": options.block, "start": start}
                cells.append(
                    StudyCell("inference-scaling", model.name, model.path, params, recorded)
                )
    return cells


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure a block at one first step with all repeats, on both splits and the control."""
    return measure_together([cell], options, loader, out)[0]


def measure_together(
    cells: Sequence[StudyCell], options: Options, loader: ModelLoader, out: Path
) -> list[Measurement]:
    """Measure several blocks of a model and task; the layers before a block run once for all."""
    from ...models.looping.config import current_schedule

    model, _ = loader(cells[0].path)
    base = current_schedule(model)
    repeats = [0, *options.times]
    grid = [[base, *_repeated(base, cell, options)] for cell in cells]
    flat = list(dict.fromkeys(schedule for schedules in grid for schedule in schedules))
    name = cells[0].params["task"]
    parts = [(name, split, NO_CONTROL) for split in SPLITS]
    if (control := control_task(name, options.control)) is not None:
        parts.append((control, "test", options.control))
    rows: list[list[Row]] = [[] for _ in cells]
    for task, split, kind in parts:
        questions = load_questions(loader, task, options, split)
        right = dict(zip(flat, item_correctness(loader, questions, flat), strict=True))
        for cell, schedules, lines in zip(cells, grid, rows, strict=True):
            plain: Row | None = None
            for times, schedule in zip(repeats, schedules, strict=True):
                place = {"start": cell.params["start"], "times": times, "schedule": str(schedule)}
                row = accuracy_row(right[schedule], questions, **place, control=kind)
                plain = plain or row
                lines.append(with_difference(row, plain))
    return [Measurement(lines) for lines in rows]


def _repeated(base: Schedule, cell: StudyCell, options: Options) -> list[Schedule]:
    start, stop = cell.params["start"], cell.params["start"] + cell.params["block"]
    return [base.repeat(start, stop, times) for times in options.times]


@dataclass(frozen=True)
class Choice:
    """Block and repeats chosen on validation items for a model and task.

    Args:
        block: number of steps of the block.
        plain: row on test items without repeats.
        chosen: row on test items of the block and repeats chosen on validation items.
        control, plain_control: ``chosen`` and ``plain`` on control questions.
        cells: number of (first step, repeats) pairs that the choice was among.
    """

    model: str
    task: str
    block: int
    plain: Row
    chosen: Row
    control: Row | None
    plain_control: Row | None
    cells: int


def choices(records: Sequence[StudyRecord]) -> list[Choice]:
    """Choose on validation items, for each model, task and size of block."""
    grouped: dict[tuple[str, str, int], list[Row]] = {}
    for record in records:
        key = record.model_name, record.params["task"], record.params["block"]
        grouped.setdefault(key, []).extend(record.rows)
    chosen = []
    for (model, task, block), rows in grouped.items():
        validation = [r for r in rows if r.split == "validation"]
        test = [r for r in rows if r.split == "test" and r.control == NO_CONTROL]
        control = [r for r in rows if r.control != NO_CONTROL]
        # of equally good ones the cheapest: no repeats where none helps
        best = max(validation, key=lambda row: (row.value, -row["times"], -row["start"]))
        start, times = best["start"], best["times"]
        chosen.append(
            Choice(
                model,
                task,
                block,
                _row_at(test, start, 0),
                _row_at(test, start, times),
                _row_at(control, start, times) if control else None,
                _row_at(control, start, 0) if control else None,
                sum(row["times"] > 0 for row in validation),
            )
        )
    return chosen


def _row_at(rows: Sequence[Row], start: int, times: int) -> Row:
    """Return the row of a block with so many repeats."""
    return next(row for row in rows if (row["start"], row["times"]) == (start, times))


@seed_aggregation.with_seed_means(
    "task", of="gain", means=("plain", "repeated", "control plain", "control"), within=CHANGE
)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate the choices on validation, with gains on test; p corrected for choices (Holm)."""
    lines: Table = []
    for choice in choices(records):
        test = paired(choice.chosen.correct, choice.plain.correct)
        none = choice.chosen["times"] == 0
        start, stop = choice.chosen["start"], choice.chosen["start"] + choice.block
        lines.append(
            {
                "model": choice.model,
                "task": choice.task,
                "chosen of": choice.cells,
                "block": "none" if none else f"{start}:{stop} ×{choice.chosen['times']}",
                "plain": choice.plain.value,
                "repeated": choice.chosen.value,
                "gain": test.difference,
                **ends(None if none else (test.low, test.high)),
                "p": test.p,
                "n": choice.plain.n,
                "chance": choice.plain.chance,
                "control plain": choice.plain_control and choice.plain_control.value,
                "control": choice.control and choice.control.value,
            }
        )
    return corrected(lines)


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw the grid on test items as heatmap and curves, for each model and task.

    A frame marks the choice on validation items.
    """
    alt = charts.altair()
    panels = []
    most = charts.around_zero(
        [
            row.difference or 0.0
            for record in records
            for row in record.rows
            if row.control == NO_CONTROL and row.split == "test"
        ]
    )
    places = [(choice.task, choice.block) for choice in choices(records)]
    for task, block in dict.fromkeys(places):
        some = [
            record
            for record in records
            if (record.params["task"], record.params["block"]) == (task, block)
        ]
        chosen = {
            (choice.model, choice.chosen["start"], choice.chosen["times"])
            for choice in choices(some)
        }
        rows = [
            {
                "model": (model := record.model_name),
                "chosen": float((model, row["start"], row["times"]) in chosen),
                **row.to_json(),
            }
            for record in some
            for row in record.rows
            if row.control == NO_CONTROL and row.split == "test"
        ]
        numbers = ("value", "difference", "chosen")
        rows = seed_aggregation.seed_means(some, rows, "start", "times", of=numbers, within=SHARE)
        for name in seed_aggregation.legend_names(some):
            mine = [row for row in rows if row["model"] == name]
            pair = alt.hconcat(_heatmap(mine, name, block, most), _curves(mine, block))
            panels.append(pair.resolve_scale(color="independent", strokeDash="independent"))
    return alt.vconcat(*panels).resolve_scale(color="independent", strokeDash="independent")


def _heatmap(rows: list[dict[str, Any]], name: str, block: int, domain: list[float]) -> Any:
    alt = charts.altair()
    values = [
        {key: row[key] for key in ("start", "times", "value", "difference", "chosen")}
        for row in rows
        if row["times"] > 0
    ]
    count = len({value["start"] for value in values})
    plain = next(row for row in rows if row["times"] == 0)
    title = alt.Title(
        f"{name}: {plain['task']}",
        subtitle=f"change on test, n = {plain['n']}, {plain['value']:.3f} without repeats; "
        f"framed: chosen on validation{'' if any(v['chosen'] for v in values) else ' (none)'}",
    )
    encoding = {
        "x": charts.steps_axis("start", f"first step of the block of {block}"),
        "y": alt.Y("times:O", title="repeats", sort="descending"),
    }
    base = alt.Chart(charts.rows(values), title=title).encode(**encoding)
    squares = base.mark_rect().encode(
        color=charts.heat(
            "difference",
            "change of accuracy",
            domain,
            signed=True,
        ),
        tooltip=["start:O", "times:O", "value:Q", "difference:Q"],
    )
    frame = base.transform_filter("datum.chosen > 0").mark_rect(
        fill=None, style=charts.INK, strokeWidth=2.5
    )
    height = 38 * len({value["times"] for value in values})
    return (squares + frame).properties(width=max(150, 19 * count), height=max(60, height))


def _curves(rows: list[dict[str, Any]], block: int) -> Any:
    alt = charts.altair()
    without = next(row for row in rows if row["times"] == 0)
    values = [
        {key: row[key] for key in ("start", "value", "low", "high")}
        | {"times": f"{row['times']} more"}
        for row in rows
        if row["times"] > 0
    ]
    names = sorted({value["times"] for value in values}, key=lambda name: int(name.split()[0]))
    base = alt.Chart(charts.rows(values)).encode(
        x=charts.steps_line("start", f"first step of the block of {block}"),
        color=charts.colour("times", names, "block runs"),
    )
    scale = alt.Scale(zero=False)
    layers = charts.line_with_band(
        base,
        alt.Y("value:Q", title="accuracy", scale=scale),
        names,
        point={"size": 18},
        opacity=0.12,
        dashes=charts.dash("times", names, "block runs"),
    )
    rules = [{"y": without["value"]}, {"y": without["chance"]}]
    plain = alt.Chart(charts.rows(rules[:1])).mark_rule(strokeDash=[4, 3]).encode(y="y:Q")
    chance = alt.Chart(charts.rows(rules[1:])).mark_rule(strokeDash=[1, 3]).encode(y="y:Q")
    return alt.layer(*layers, plain, chance).properties(width=300, height=150)


STUDY = Study(
    name="inference-scaling",
    question="Where, and how often, does repeating a block help a model without any training?",
    figure="Figures 2, 9, 14 and 15",
    cost="a start: for each item of two splits and the control, 1 forward pass plus, for each of "
    "--repeats, the block and what comes after it",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("block", "times"),
    averaged_over=("start",),
    shared_pass=SharedPass(
        lambda cell: (cell.params["task"], cell.params["block"]), 8, measure_together
    ),
)
