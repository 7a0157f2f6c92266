"""Loop extrapolation: what do more loops than trained do at inference? Beyond the paper.

Accuracy and next-token loss against the number of loops, from 1 to ``--upto`` times the number that
the model was trained with. A plain model repeats ``--block``; it was trained with one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError, whole
from ...core.schedule import Schedule
from ...core.significance import holm, sign_flip_mean
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
from ..measure.loop_schedules import schedule_by_loops
from ..measure.losses import LOSS, loss_row, schedule_losses
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

PLATEAU = {"acc": 0.02, "loss": 0.05}
"""Largest change that counts as none: share of right answers, nats per token."""
RISES = "better"
FALLS = "worse"


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of loop-extrapolation."""

    tasks: tuple[str, ...] = tasks_option(
        "reasoning_primitives", LOSS, about="tasks or groups of them; loss: of next tokens"
    )
    upto: int = option(4, "largest number of loops, as a multiple of the trained number")
    block: str | None = option(None, "START:STOP, for models that do not loop")
    split: str = split_option()
    text: str | None = text_option("file of prompts for loss; by default generated questions")
    texts: int = texts_option(32)
    tokens: int = tokens_option(256)


def loop_numbers(trained: int, upto: int) -> list[int]:
    """List the numbers of loops: up to the trained one each, then in steps of half of it.

    >>> loop_numbers(2, 4), loop_numbers(1, 4), loop_numbers(8, 2)
    ([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4], [1, 2, 4, 6, 8, 12, 16])
    """
    step = max(1, trained // 2)
    below = range(1, trained) if trained <= 4 else [1, *range(max(2, trained // 4), trained, 2)]
    return [*below, *range(trained, upto * trained + 1, step)]


def schedules(base: Schedule, options: Options) -> tuple[int, dict[int, Schedule]]:
    """Return the trained number of loops, and a schedule for each number.

    Raises:
        InputError: a model that does not loop, without a block; several looped blocks.
    """
    looped = [section.times for section in base.sections if section.times > 1]
    if len(set(looped)) > 1:
        raise InputError(
            f"schedule {base} has blocks of different loops: loop-extrapolation needs one number"
        )
    trained = looped[0] if looped else 1
    schedule = schedule_by_loops(base, options.block)
    return trained, {n: schedule(n) for n in loop_numbers(trained, options.upto)}


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model and task."""
    whole("upto", options.upto, 1, 100)
    tasks = [name for name in options.tasks if name != LOSS]
    check_accuracy(tasks, options.items, options.shots, options.seed, options.split)
    if LOSS in options.tasks:
        check_prompts(options.text, options.texts, options.tokens)
    for model in models:
        schedules(model.schedule, options)
    recorded = recorded_options(options, "tasks")
    names = [*task_names(tasks), *([LOSS] if LOSS in options.tasks else [])]
    return [
        StudyCell("loop-extrapolation", model.name, model.path, {"task": name}, recorded)
        for model in models
        for name in names
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure a task with each number of loops, and the difference to the trained number."""
    from ...models.looping.config import current_schedule

    model, _ = loader(cell.path)
    trained, by_loops = schedules(current_schedule(model), options)
    if cell.params["task"] == LOSS:
        rows = _loss_rows(loader, by_loops, trained, options)
    else:
        questions = load_questions(loader, cell.params["task"], options, options.split)
        right = item_correctness(loader, questions, list(by_loops.values()))
        rows = [
            accuracy_row(values, questions, loops=loops, schedule=str(schedule))
            for values, (loops, schedule) in zip(right, by_loops.items(), strict=True)
        ]
        reference = rows[list(by_loops).index(trained)]
        rows = [with_difference(row, reference) for row in rows]
    return Measurement(rows, {"trained": trained})


def _loss_rows(
    loader: ModelLoader, by_loops: dict[int, Schedule], trained: int, options: Options
) -> list[Row]:
    from ...models import loop

    texts = read_prompts(
        loader.tokenizer,
        options.text,
        options.texts,
        options.tokens,
        options.seed,
        model=loader.model,
    )
    model = loop(loader.model)
    chosen = list(by_loops.values())
    losses = np.array(
        [
            schedule_losses(model, chosen, ids.to(model.device))
            for ids in loader.with_bar(texts.ids, "texts")
        ]
    )  # (texts, schedules)
    plain = losses[:, list(by_loops).index(trained)].tolist()
    rows = []
    for column, (loops, schedule) in zip(losses.T.tolist(), by_loops.items(), strict=True):
        row = loss_row(column, plain, loops=loops, schedule=str(schedule), **texts.metadata)
        changes = [a - b for a, b in zip(column, plain, strict=True)]
        rows.append(row.replace(p=sign_flip_mean(changes)))
    return rows


def shape(rows: Sequence[Row], trained: int) -> str:
    """Say in words what more loops than trained do, from the paired differences.

    ``better`` or ``worse`` where the interval of the difference excludes 0, after Holm's
    correction for the numbers of loops; ``no change`` where the whole interval is within
    :data:`PLATEAU`.

    Args:
        rows: rows of a task, by number of loops.
        trained: number of loops in training.
    """
    more = [row for row in rows if row["loops"] > trained]
    if not more:
        return "no more loops than trained were run"
    sign = -1 if more[0].task == LOSS else 1
    margin = PLATEAU["loss" if more[0].task == LOSS else "acc"]
    corrected_p = holm([row["p"] for row in more])
    changes = [
        ("" if p >= 0.05 else RISES if sign * (row.difference or 0) > 0 else FALLS)
        for row, p in zip(more, corrected_p, strict=True)
    ]
    better = [row["loops"] for row, change in zip(more, changes, strict=True) if change == RISES]
    worse = [row["loops"] for row, change in zip(more, changes, strict=True) if change == FALLS]
    if better and worse:
        return f"better with {_listed(better)} loops, worse with {_listed(worse)}"
    if better:
        return f"better with {_listed(better)} loops"
    if worse:
        return (
            f"worse from {worse[0]} loops on"
            if changes[-1] == FALLS
            else (f"worse with {_listed(worse)} loops")
        )
    within = all(
        row.get("difference_low") is None
        or (-margin <= row["difference_low"] and row["difference_high"] <= margin)
        for row in more
    )
    return f"plateau: within ±{margin:g}" if within else "undecided"


def _listed(loops: list[int]) -> str:
    return str(loops[0]) if len(loops) == 1 else f"{loops[0]} to {loops[-1]}"


@seed_aggregation.with_seed_means("task", "loops", within=lambda row: range_of(row["task"]))
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each number of loops, and in words what more loops than trained do."""
    lines: Table = []
    for record in records:
        trained = record.data["trained"]
        others = [row for row in record.rows if row["loops"] != trained]
        p_values = dict(
            zip((row["loops"] for row in others), holm([row["p"] for row in others]), strict=True)
        )
        for row in record.rows:
            last = row is record.rows[-1]
            lines.append(
                {
                    "model": record.model_name,
                    "task": row.task,
                    "loops": f"{row['loops']}" + " (trained)" * (row["loops"] == trained),
                    "value": row.value,
                    "low": row.low,
                    "high": row.high,
                    "difference": None if row["loops"] == trained else row.difference,
                    "p (Holm)": p_values.get(row["loops"]),
                    "n": row.n,
                    "chance": row.chance,
                    "more loops": shape(record.rows, trained) if last else "",
                }
            )
    return lines


def range_of(task: str) -> Interval:
    """Return the range of a task's values."""
    return SIZE if task == LOSS else SHARE


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw each task against the loops, as multiples of the trained number."""
    alt = charts.altair()
    names = seed_aggregation.legend_names(records)
    panels = []
    for task in dict.fromkeys(record.rows[0].task for record in records):
        values = [
            {
                "model": record.model_name,
                **row.to_json(),
                "multiple": row["loops"] / record.data["trained"],
            }
            for record in records
            for row in record.rows
            if row.task == task
        ]
        values = seed_aggregation.seed_means(records, values, "multiple", within=range_of(task))
        loss = task == LOSS
        title = alt.Title(task, subtitle=f"n = {values[0]['n']}, bands: 95 %; dotted: as trained")
        base = alt.Chart(charts.rows(values), title=title).encode(
            x=alt.X("multiple:Q", title="loops / loops in training"),
            color=charts.colour("model", names),
        )
        y = alt.Y(
            "value:Q",
            title="loss (nats per token)" if loss else "accuracy (share right)",
            scale=alt.Scale(zero=False),
        )
        as_trained = (
            alt.Chart(charts.rows([{"multiple": 1}]))
            .mark_rule(color=charts.GREY, strokeDash=[2, 3])
            .encode(x="multiple:Q")
        )
        chance = [] if loss else [charts.chance_line(values[0]["chance"])]
        layers = charts.line_with_band(base, y, names, point={"size": 24}, opacity=0.2)
        panels.append(alt.layer(as_trained, *chance, *layers).properties(width=300, height=190))
    return alt.concat(*panels, columns=3)


STUDY = Study(
    name="loop-extrapolation",
    question="Do more loops than in training help, change nothing, or harm?",
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
