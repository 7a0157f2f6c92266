"""Do more loops solve deeper chains of assignments? Accuracy on the grid of loops × depth.

A looped model's block runs 1 to n times; of a plain one the block ``--block START:STOP`` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, whole
from ...core.significance import corrected, paired
from ...core.statistics import SHARE
from ...models import Schedule
from ...models.looping.config import current_schedule
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import accuracy_row, ask, check_accuracy, right_answers
from ..measure.controls import ABOUT, NONE, apart, check_control, with_controls
from ..study import Cell, Record, Study, Table, option, settled


@dataclass(frozen=True)
class Options:
    """What is measured."""

    style: str = option("code", "wording of variable assignment: basic, math, code")
    depths: tuple[int, ...] = option((0, 1, 2, 3), "of the chains of assignments")
    loops: tuple[int, ...] = option((1, 2, 3, 4), "how often the block runs in all")
    block: str | None = option(None, "START:STOP, for models that do not loop")
    items: int = option(200, "questions a depth")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    split: str = option("test", "test or validation")
    control: str = option(NONE, ABOUT, later=True)
    seed: int = option(0, "which questions and examples are drawn")


def schedules(base: Schedule, options: Options) -> list[Schedule]:
    """A schedule for each number of loops.

    Raises:
        InputError: a model that does not loop, without a block.
    """
    looped = any(section.times > 1 for section in base.sections)
    if looped:
        return [base.with_loops(loops) for loops in options.loops]
    if options.block is None:
        raise InputError(f"schedule {base} has no looped block: say which with --block START:STOP")
    found = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", options.block)
    if not found:
        raise InputError(f"a block is START:STOP, e.g. 6:10, not '{options.block[:60]}'")
    start, stop = int(found[1]), int(found[2])
    base.repeat(start, stop)  # refuses a block outside
    return [base if n == 1 else base.repeat(start, stop, n - 1) for n in options.loops]


def task_of(options: Options, depth: int) -> str:
    """The task of a depth."""
    return f"variable_assignment:style={options.style}:depth={depth}"


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model and depth."""
    for depth in options.depths:
        check_accuracy(
            [task_of(options, depth)], options.items, options.shots, options.seed, options.split
        )
    check_control([task_of(options, depth) for depth in options.depths], options.control)
    for loops in options.loops:
        whole("loops", loops, 1, 1000)
    for model in models:
        schedules(model.schedule, options)
    kept = settled(options, "depths")
    return [
        Cell("loops-against-depth", model.name, model.path, {"depth": depth}, kept)
        for model in models
        for depth in options.depths
    ]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """All numbers of loops at a depth."""
    model, _ = loaded(cell.path)
    base = current_schedule(model)
    depth, tried = cell.params["depth"], schedules(base, options)
    rows = []
    for name, of in with_controls([task_of(options, depth)], options.control):
        asked = ask(loaded, name, options, options.split)
        right = right_answers(loaded, asked, tried)
        rows += [
            accuracy_row(values, asked, loops=loops, depth=depth, schedule=str(schedule), **of)
            for values, loops, schedule in zip(right, options.loops, tried, strict=True)
        ]
    return {"rows": rows, "data": {}}


@seeds.over_seeds("task", "loops", within=SHARE)
def table(records: Sequence[Record]) -> Table:
    """A row for each depth and number of loops; p against the fewest loops, corrected."""
    lines: Table = []
    plain, controls = apart(records)
    beside = {
        (record["cell"]["id"], row["loops"]): row["value"] - record["rows"][0]["value"]
        for record in controls
        for row in record["rows"]
    }
    for record in plain:
        first = record["rows"][0]
        for row in record["rows"]:
            answers = [[a == "1" for a in side["answers"]] for side in (row, first)]
            name = f"p against {first['loops']}"
            lines.append(
                {
                    "model": record["cell"]["model"],
                    "task": row["task"],
                    "loops": row["loops"],
                    "value": row["value"],
                    "low": row["low"],
                    "high": row["high"],
                    name: paired(*answers).p if row is not first else None,
                    **(
                        {"control gain": beside.get((record["cell"]["id"], row["loops"]))}
                        if beside
                        else {}
                    ),
                    "n": row["n"],
                    "chance": row["chance"],
                }
            )
    return corrected(lines, name)


def chart(records: Sequence[Record]) -> Any:
    """A heatmap for each model: loops against depth, accuracy written in."""
    alt = charts.altair()
    panels = []
    records = apart(records)[0]
    every = [{"model": r["cell"]["model"], **row} for r in records for row in r["rows"]]
    every = seeds.lines(records, every, "loops", "depth", within=SHARE)
    for model in seeds.names(records):
        rows = [row for row in every if row["model"] == model]
        values = [{key: row[key] for key in ("loops", "depth", "value")} for row in rows]
        chance = rows[0]["chance"]
        subtitle = f"accuracy, n = {rows[0]['n']}, chance {chance:.2f}"
        base = alt.Chart(charts.rows(values), title=alt.Title(model, subtitle=subtitle)).encode(
            x=alt.X("depth:O", title="depth of the chain", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("loops:O", title="times the block runs", sort="descending"),
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
    asks="Does running the looped block more often solve deeper chains of assignments?",
    figure="beyond the paper",
    cost="for each question and number of loops the looped steps and what comes after them",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    example="--block 2:4",
    compares=("loops",),
)
