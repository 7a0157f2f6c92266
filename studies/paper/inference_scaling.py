"""Does repeating a block help a model that was not trained to (paper Figures 2, 9, 14, 15)?

The whole grid of start × times is measured on validation and on test items. Where to repeat is
chosen on validation, and the gain of that choice is what the test items say of it: never the best
of test. A counterfactual control runs beside: items whose answer cannot be worked out (``cut``),
where a gain would be no reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.significance import corrected, paired
from ...core.statistics import CHANGE, SHARE, ends
from ...models import Schedule
from ...models.looping.config import current_schedule
from ...tasks.questions import task_names
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import accuracy_row, against, ask, check_accuracy, right_answers
from ..measure.controls import CONTROLS, controlled
from ..study import Cell, Record, Study, Table, Together, option, settled

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    tasks: tuple[str, ...] = option(
        ("variable_assignment_math_d0", "variable_assignment_code_d0"), "tasks or groups of them"
    )
    block: int = option(4, "steps in the block")
    starts: tuple[int, ...] = option((), "first steps of the block; by default all")
    times: tuple[int, ...] = option((1, 2, 3), "how often it runs again")
    items: int = option(200, "questions a task, of each split")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    control: str = option("cut", "of the test items, where a task has it: none, cut, shuffled")
    seed: int = option(0, "which questions and examples are drawn")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model, task and start."""
    whole("the block", options.block, 1, 10_000)
    one_of("control", options.control, CONTROLS)
    for times in options.times:
        whole("times", times, 1, 1000)
    for split in SPLITS:
        check_accuracy(options.tasks, options.items, options.shots, options.seed, split)
    kept = settled(options, "tasks", "starts", "block")
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
                cells.append(Cell("inference-scaling", model.name, model.path, params, kept))
    return cells


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """A block at one start, repeated 0 to n times, on all splits and the control."""
    return measure_together([cell], options, loaded, out)[0]


def measure_together(
    cells: Sequence[Cell], options: Options, loaded: Loaded, out: Path
) -> list[dict[str, Any]]:
    """Several starts of a model and task: what comes before a block runs once for all."""
    model, _ = loaded(cells[0].path)
    base = current_schedule(model)
    repeats = [0, *options.times]
    grid = [[base, *_repeated(base, cell, options)] for cell in cells]
    flat = list(dict.fromkeys(schedule for schedules in grid for schedule in schedules))
    name = cells[0].params["task"]
    asked = [(name, split, "none") for split in SPLITS]
    if (control := controlled(name, options.control)) is not None:
        asked.append((control, "test", options.control))
    rows: list[list[dict[str, Any]]] = [[] for _ in cells]
    for task, split, kind in asked:
        found = ask(loaded, task, options, split)
        right = dict(zip(flat, right_answers(loaded, found, flat), strict=True))
        for cell, schedules, lines in zip(cells, grid, rows, strict=True):
            plain: dict[str, Any] | None = None
            for times, schedule in zip(repeats, schedules, strict=True):
                place = {"start": cell.params["start"], "times": times, "schedule": str(schedule)}
                row = accuracy_row(right[schedule], found, **place, control=kind)
                plain = plain or row
                lines.append(row | against(row, plain))
    return [{"rows": lines, "data": {}} for lines in rows]


def _repeated(base: Schedule, cell: Cell, options: Options) -> list[Schedule]:
    start, stop = cell.params["start"], cell.params["start"] + cell.params["block"]
    return [base.repeat(start, stop, times) for times in options.times]


@dataclass(frozen=True)
class Choice:
    """What validation chose for a model and task, and what test says of it."""

    model: str
    task: str
    block: int
    plain: dict[str, Any]
    chosen: dict[str, Any]
    control: dict[str, Any] | None
    plain_control: dict[str, Any] | None
    cells: int


def choices(records: Sequence[Record]) -> list[Choice]:
    """One for each model, task and size of block."""
    grouped: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for record in records:
        cell = record["cell"]
        key = cell["model"], cell["params"]["task"], cell["params"]["block"]
        grouped.setdefault(key, []).extend(record["rows"])
    found = []
    for (model, task, block), rows in grouped.items():
        validation = [r for r in rows if r["split"] == "validation"]
        test = [r for r in rows if r["split"] == "test" and r["control"] == "none"]
        control = [r for r in rows if r["control"] != "none"]
        # the cheapest of those that are best: no repeat where none is better
        best = max(validation, key=lambda row: (row["value"], -row["times"], -row["start"]))
        found.append(
            Choice(
                model,
                task,
                block,
                _same(test, best | {"times": 0}),
                _same(test, best),
                _same(control, best) if control else None,
                _same(control, best | {"times": 0}) if control else None,
                sum(row["times"] > 0 for row in validation),
            )
        )
    return found


def _same(rows: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any]:
    """The row of another split at the same place."""
    place = wanted["start"], wanted["times"]
    return next(row for row in rows if (row["start"], row["times"]) == place)


@seeds.over_seeds(
    "task", of="gain", means=("plain", "repeated", "control plain", "control"), within=CHANGE
)
def table(records: Sequence[Record]) -> Table:
    """What validation chose, and its gain on test; p corrected for the number of choices (Holm)."""
    found = choices(records)
    tests = []
    for choice in found:
        answers = [[a == "1" for a in row["answers"]] for row in (choice.chosen, choice.plain)]
        tests.append(paired(*answers))
    lines: Table = []
    for choice, test in zip(found, tests, strict=True):
        none = choice.chosen["times"] == 0
        start, stop = choice.chosen["start"], choice.chosen["start"] + choice.block
        lines.append(
            {
                "model": choice.model,
                "task": choice.task,
                "chosen of": choice.cells,
                "block": "none" if none else f"{start}:{stop} ×{choice.chosen['times']}",
                "plain": choice.plain["value"],
                "repeated": choice.chosen["value"],
                "gain": test.difference,
                **ends(None if none else (test.low, test.high)),
                "p": test.p,
                "n": choice.plain["n"],
                "chance": choice.plain["chance"],
                "control plain": choice.plain_control and choice.plain_control["value"],
                "control": choice.control and choice.control["value"],
            }
        )
    return corrected(lines)


def chart(records: Sequence[Record]) -> Any:
    """For each model and task the grid on test as a heatmap and as curves; the choice is marked."""
    alt = charts.altair()
    panels = []
    most = charts.around_zero(
        [
            row["difference"]
            for record in records
            for row in record["rows"]
            if row["control"] == "none" and row["split"] == "test"
        ]
    )
    places = [(choice.task, choice.block) for choice in choices(records)]
    for task, block in dict.fromkeys(places):
        some = [
            record
            for record in records
            if (record["cell"]["params"]["task"], record["cell"]["params"]["block"])
            == (task, block)
        ]
        chosen = {
            (choice.model, choice.chosen["start"], choice.chosen["times"])
            for choice in choices(some)
        }
        rows = [
            {
                "model": (model := record["cell"]["model"]),
                "chosen": float((model, row["start"], row["times"]) in chosen),
                **row,
            }
            for record in some
            for row in record["rows"]
            if row["control"] == "none" and row["split"] == "test"
        ]
        numbers = ("value", "difference", "chosen")
        rows = seeds.lines(some, rows, "start", "times", of=numbers, within=SHARE)
        for name in seeds.names(some):
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
        "y": alt.Y("times:O", title="times more", sort="descending"),
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
    line = base.mark_line(point={"size": 18}).encode(
        y=alt.Y("value:Q", title="accuracy", scale=scale),
        strokeDash=charts.dash("times", names, "block runs"),
    )
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    rules = [{"y": without["value"]}, {"y": without["chance"]}]
    plain = alt.Chart(charts.rows(rules[:1])).mark_rule(strokeDash=[4, 3]).encode(y="y:Q")
    chance = alt.Chart(charts.rows(rules[1:])).mark_rule(strokeDash=[1, 3]).encode(y="y:Q")
    return alt.layer(band, line, plain, chance).properties(width=300, height=150)


STUDY = Study(
    name="inference-scaling",
    asks="Where, and how often, does repeating a block help a model without any training?",
    figure="Figures 2, 9, 14 and 15",
    cost="a start: for each item of two splits and the control, 1 forward pass plus, for each of "
    "--times, the block and what comes after it",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("block", "times"),
    over=("start",),
    together=Together(
        lambda cell: (cell.params["task"], cell.params["block"]), 8, measure_together
    ),
)
