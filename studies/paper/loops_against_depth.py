"""Loops against depth: do more loops solve deeper chains of assignments? Beyond the paper.

Accuracy on the grid of loops × depth. A looped model runs its own block 1 to n times; a plain model
runs the block ``--block START:STOP``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import whole
from ...core.schedule import Schedule
from ...core.significance import corrected, paired
from ...core.statistics import SHARE
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import accuracy_row, check_accuracy, item_correctness, load_questions
from ..measure.controls import check_control, split_controls, with_controls
from ..measure.loop_schedules import schedule_by_loops
from ..options import (
    QuestionOptions,
    control_option,
    items_option,
    option,
    recorded_options,
    split_option,
)
from ..records import StudyRecord
from ..study import Measurement, Study, Table


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of loops-against-depth."""

    style: str = option("code", "wording of variable assignment: basic, math, code")
    depths: tuple[int, ...] = option((0, 1, 2, 3), "depths of the chains of assignments")
    loops: tuple[int, ...] = option((1, 2, 3, 4), "loops: passes of the block in all")
    block: str | None = option(None, "START:STOP, for models that do not loop")
    items: int = items_option(about="questions a depth")
    split: str = split_option()
    control: str = control_option()


def schedules(base: Schedule, options: Options) -> list[Schedule]:
    """Return a schedule for each number of loops.

    Raises:
        InputError: a model that does not loop, without a block.
    """
    schedule = schedule_by_loops(base, options.block)
    return [schedule(loops) for loops in options.loops]


def task_of(options: Options, depth: int) -> str:
    """Return the name of the task with chains of a depth."""
    return f"variable_assignment:style={options.style}:depth={depth}"


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model and depth."""
    for depth in options.depths:
        check_accuracy(
            [task_of(options, depth)], options.items, options.shots, options.seed, options.split
        )
    check_control([task_of(options, depth) for depth in options.depths], options.control)
    for loops in options.loops:
        whole("loops", loops, 1, 1000)
    for model in models:
        schedules(model.schedule, options)
    recorded = recorded_options(options, "depths")
    return [
        StudyCell("loops-against-depth", model.name, model.path, {"depth": depth}, recorded)
        for model in models
        for depth in options.depths
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure accuracy at a depth with each number of loops."""
    from ...models.looping.config import current_schedule

    model, _ = loader(cell.path)
    base = current_schedule(model)
    depth, looped = cell.params["depth"], schedules(base, options)
    rows = []
    for name, of in with_controls([task_of(options, depth)], options.control):
        questions = load_questions(loader, name, options, options.split)
        right = item_correctness(loader, questions, looped)
        rows += [
            accuracy_row(values, questions, loops=loops, depth=depth, schedule=str(schedule), **of)
            for values, loops, schedule in zip(right, options.loops, looped, strict=True)
        ]
    return Measurement(rows)


@seed_aggregation.with_seed_means("task", "loops", within=SHARE)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each depth and number of loops; p is against the fewest loops, corrected."""
    lines: Table = []
    plain, controls = split_controls(records)
    control_gains = {
        (record.id, row["loops"]): row.value - record.rows[0].value
        for record in controls
        for row in record.rows
    }
    for record in plain:
        first = record.rows[0]
        for row in record.rows:
            name = f"p against {first['loops']}"
            lines.append(
                {
                    "model": record.model_name,
                    "task": row.task,
                    "loops": row["loops"],
                    "value": row.value,
                    "low": row.low,
                    "high": row.high,
                    name: paired(row.correct, first.correct).p if row is not first else None,
                    **(
                        {"control gain": control_gains.get((record.id, row["loops"]))}
                        if control_gains
                        else {}
                    ),
                    "n": row.n,
                    "chance": row.chance,
                }
            )
    return corrected(lines, name)


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a heatmap for each model: loops against depth, with the accuracies written in."""
    alt = charts.altair()
    panels = []
    records = split_controls(records)[0]
    every = [{"model": r.model_name, **row.to_json()} for r in records for row in r.rows]
    every = seed_aggregation.seed_means(records, every, "loops", "depth", within=SHARE)
    for model in seed_aggregation.legend_names(records):
        rows = [row for row in every if row["model"] == model]
        values = [{key: row[key] for key in ("loops", "depth", "value")} for row in rows]
        chance = rows[0]["chance"]
        subtitle = f"accuracy, n = {rows[0]['n']}, chance {chance:.2f}"
        base = alt.Chart(charts.rows(values), title=alt.Title(model, subtitle=subtitle)).encode(
            x=alt.X("depth:O", title="depth of the chain", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("loops:O", title="loops of the block", sort="descending"),
        )
        squares = base.mark_rect().encode(color=charts.heat("value", "accuracy", [chance, 1]))
        middle = (1 + chance) / 2
        text = base.mark_text(fontSize=11).encode(
            text=alt.Text("value:Q", format=".2f"),
            color=alt.condition(f"datum.value > {middle}", alt.value("#000"), alt.value("#fff")),
        )
        width = 46 * len({row["depth"] for row in rows})
        height = 34 * len({row["loops"] for row in rows})
        panels.append((squares + text).properties(width=width, height=height))
    return alt.hconcat(*panels)


STUDY = Study(
    name="loops-against-depth",
    question="Does running the looped block more often solve deeper chains of assignments?",
    figure="beyond the paper",
    cost="for each question and number of loops the looped steps and what comes after them",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    example="--block 2:4",
    conditions=("loops",),
)
