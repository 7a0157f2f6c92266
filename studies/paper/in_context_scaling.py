"""In-context scaling: do more examples in the prompt help (paper Figures 3, 13)?

The examples of a question are the same for every model. Fewer shots are the first examples of more
shots, so that all counts of a task are scored in one pass over their trie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.significance import corrected
from ...core.statistics import SHARE
from ...tasks.questions import questions, task_names
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import (
    accuracy_row,
    check_accuracy,
    item_correctness_per_task,
    load_scorer,
    with_difference,
)
from ..measure.controls import check_control, split_controls, with_controls
from ..options import (
    control_option,
    items_option,
    option,
    recorded_options,
    seed_option,
    split_option,
    tasks_option,
)
from ..records import StudyRecord
from ..study import Measurement, Study, Table


@dataclass(frozen=True)
class Options:
    """Options of in-context-scaling."""

    tasks: tuple[str, ...] = tasks_option()
    counts: tuple[int, ...] = option(
        (0, 1, 2, 4, 8, 16), "numbers of examples in a prompt", flags="--shots -k"
    )
    items: int = items_option()
    split: str = split_option()
    control: str = control_option()
    seed: int = seed_option()


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model and task."""
    if len(set(options.counts)) < max(2, len(options.counts)):
        raise InputError("--shots takes two or more numbers that differ, such as 0,1,2,4")
    most = max(options.counts)
    check_accuracy(options.tasks, options.items, most, options.seed, options.split)
    check_control(task_names(options.tasks), options.control)
    recorded = recorded_options(options, "tasks")
    return [
        StudyCell("in-context-scaling", model.name, model.path, {"task": name}, recorded)
        for model in models
        for name in task_names(options.tasks)
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure accuracy on a task with each number of examples."""
    from ...models.looping.config import current_schedule

    model, _ = loader(cell.path)
    lm = load_scorer(loader)
    counts = sorted(options.counts)
    kwargs: dict[str, Any] = {"split": options.split, "seed": options.seed}
    names = with_controls([cell.params["task"]], options.control)
    samples = [
        (questions(lm, name, options.items, shots=n, pool=counts[-1], **kwargs), of)
        for name, of in names
        for n in counts
    ]
    right = item_correctness_per_task(
        loader, [each for each, _ in samples], [current_schedule(model)]
    )
    rows = [
        accuracy_row(correct, each, **of)
        for [correct], (each, of) in zip(right, samples, strict=True)
    ]
    fewest = {row.task: row for row in reversed(rows)}
    return Measurement([with_difference(row, fewest[row.task]) for row in rows])


@seed_aggregation.with_seed_means("task", "shots", within=SHARE)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each task and number of examples; differences are to the fewest, p corrected."""
    plain, controls = split_controls(records)
    control_gains = {
        (record.model_name, row.task, row.shots): row.difference
        for record in controls
        for row in record.rows
    }
    lines = [
        {
            "model": record.model_name,
            "task": row.task,
            "shots": row.shots,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "difference": None if row is record.rows[0] else row.difference,
            "p": None if row is record.rows[0] else row.p,
            **(
                {"control gain": control_gains.get((record.model_name, row.task, row.shots))}
                if control_gains
                else {}
            ),
            "n": row.n,
            "chance": row.chance,
        }
        for record in plain
        for row in record.rows
    ]
    return corrected(lines)


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a panel for each task: accuracy against examples, a line for each model."""
    alt = charts.altair()
    records = split_controls(records)[0]
    models = seed_aggregation.legend_names(records)
    scale, panels = alt.Scale(type="symlog"), []
    for task in dict.fromkeys(record.rows[0].task for record in records):
        some = [record for record in records if record.rows[0].task == task]
        values: list[dict[str, Any]] = [
            {"shots": row.shots, "value": row.value, "low": row.low, "high": row.high}
            | {"model": record.model_name}
            for record in some
            for row in record.rows
        ]
        values = seed_aggregation.seed_means(records, values, "shots", within=SHARE)
        first = some[0].rows[0]
        counts = sorted({value["shots"] for value in values})
        title = alt.Title(task, subtitle=f"n = {first.n}, chance {first.chance:.2f}, bands: 95 %")
        base = alt.Chart(charts.rows(values), title=title).encode(
            x=alt.X("shots:Q", title="examples", scale=scale, axis=alt.Axis(values=counts)),
            color=charts.colour("model", models),
        )
        value = alt.Y("value:Q", title="accuracy", scale=alt.Scale(zero=False))
        low = alt.Y("low:Q", title="accuracy")
        layers = charts.line_with_band(base, value, models, low=low)
        layers.append(charts.chance_line(first.chance))
        panels.append(alt.layer(*layers).properties(width=230, height=170))
    return alt.concat(*panels, columns=3)


STUDY = Study(
    name="in-context-scaling",
    question="Do more examples in the prompt help, and do they help looped and grown models more?",
    figure="Figures 3, 13",
    cost="for each question little more than its longest prompt",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("shots",),
)
