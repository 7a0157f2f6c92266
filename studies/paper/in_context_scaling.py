"""Do more examples in the prompt help, and whom most (paper Figures 3, 13)?

The examples of a question are the same for every model, and those of fewer shots the first of those
of more; all counts of a task are scored in one pass over their trie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.significance import corrected
from ...core.statistics import SHARE
from ...models.looping.config import current_schedule
from ...tasks.questions import questions, task_names
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import (
    SPLITS,
    accuracy_row,
    against,
    check_accuracy,
    right_together,
    scorer_of,
)
from ..measure.controls import ABOUT, NONE, apart, check_control, with_controls
from ..study import Cell, Record, Study, Table, option, settled


@dataclass(frozen=True)
class Options:
    """What is measured."""

    tasks: tuple[str, ...] = option(("reasoning_primitives",), "tasks or groups of them")
    counts: tuple[int, ...] = option((0, 1, 2, 4, 8, 16), "numbers of examples")
    items: int = option(200, "questions a task")
    split: str = option("test", f"of the questions: {', '.join(SPLITS)}")
    control: str = option(NONE, ABOUT, later=True)
    seed: int = option(0, "which questions and examples are drawn")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model and task."""
    if len(set(options.counts)) < max(2, len(options.counts)):
        raise InputError("--counts takes two or more numbers that differ, such as 0,1,2,4")
    most = max(options.counts)
    check_accuracy(options.tasks, options.items, most, options.seed, options.split)
    check_control(task_names(options.tasks), options.control)
    kept = settled(options, "tasks")
    return [
        Cell("in-context-scaling", model.name, model.path, {"task": name}, kept)
        for model in models
        for name in task_names(options.tasks)
    ]


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """All numbers of examples of a task."""
    model, _ = loaded(cell.path)
    lm = scorer_of(loaded)
    counts = sorted(options.counts)
    given: dict[str, Any] = {"split": options.split, "seed": options.seed}
    names = with_controls([cell.params["task"]], options.control)
    asked = [
        (questions(lm, name, options.items, shots=n, pool=counts[-1], **given), of)
        for name, of in names
        for n in counts
    ]
    right = right_together(loaded, [each for each, _ in asked], [current_schedule(model)])
    rows = [
        accuracy_row(found, each, **of) for [found], (each, of) in zip(right, asked, strict=True)
    ]
    fewest = {row["task"]: row for row in reversed(rows)}
    return {"rows": [row | against(row, fewest[row["task"]]) for row in rows], "data": {}}


@seeds.over_seeds("task", "shots", within=SHARE)
def table(records: Sequence[Record]) -> Table:
    """A row for each task and number of examples; differences are to the fewest, p corrected."""
    plain, controls = apart(records)
    beside = {
        (record["cell"]["model"], row["task"], row["shots"]): row["difference"]
        for record in controls
        for row in record["rows"]
    }
    lines = [
        {
            "model": record["cell"]["model"],
            "task": row["task"],
            "shots": row["shots"],
            **{name: row[name] for name in ("value", "low", "high")},
            "difference": None if row is record["rows"][0] else row["difference"],
            "p": None if row is record["rows"][0] else row["p"],
            **(
                {"control gain": beside.get((record["cell"]["model"], row["task"], row["shots"]))}
                if beside
                else {}
            ),
            "n": row["n"],
            "chance": row["chance"],
        }
        for record in plain
        for row in record["rows"]
    ]
    return corrected(lines)


def chart(records: Sequence[Record]) -> Any:
    """A panel for each task: accuracy against examples, a line for each model, chance dotted."""
    alt = charts.altair()
    records = apart(records)[0]
    models = seeds.names(records)
    scale, panels = alt.Scale(type="symlog"), []
    for task in dict.fromkeys(record["rows"][0]["task"] for record in records):
        some = [record for record in records if record["rows"][0]["task"] == task]
        values = [
            {name: row[name] for name in ("shots", "value", "low", "high")}
            | {"model": record["cell"]["model"]}
            for record in some
            for row in record["rows"]
        ]
        values = seeds.lines(records, values, "shots", within=SHARE)
        first = some[0]["rows"][0]
        counts = sorted({value["shots"] for value in values})
        title = alt.Title(
            task, subtitle=f"n = {first['n']}, chance {first['chance']:.2f}, bands: 95 %"
        )
        base = alt.Chart(charts.rows(values), title=title).encode(
            x=alt.X("shots:Q", title="examples", scale=scale, axis=alt.Axis(values=counts)),
            color=charts.colour("model", models),
        )
        value = alt.Y("value:Q", title="accuracy", scale=alt.Scale(zero=False))
        line = base.mark_line(point=True).encode(y=value, strokeDash=charts.dash("model", models))
        band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title="accuracy"), y2="high:Q")
        chance = alt.Chart(charts.rows([{"chance": first["chance"]}])).mark_rule(
            strokeDash=[2, 3], color="#888"
        )
        panels.append((band + line + chance.encode(y="chance:Q")).properties(width=230, height=170))
    return alt.concat(*panels, columns=3)


STUDY = Study(
    name="in-context-scaling",
    asks="Do more examples in the prompt help, and do they help looped and grown models more?",
    figure="Figures 3, 13",
    cost="for each question little more than its longest prompt",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("shots",),
)
