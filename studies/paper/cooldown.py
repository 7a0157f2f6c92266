"""What does the mixture of the cooldown change (paper Tables 2, 4)?

One checkpoint cools down on each of several mixtures, with several orders of the data, and each
end point is scored. Mixtures are compared with the first, seed by seed on the same items: what
differs over seeds is the order of the data alone, as the weights they start from are the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import whole
from ...core.statistics import CHANGE, SHARE, Interval, ends, seeds_interval
from ...models.looping.config import current_schedule
from ...tasks.questions import task_names
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import SPLITS, accuracy_row, ask, check_accuracy, right_answers
from ..measure.branching import Change, Parent, check_data, continued, cooled, data_of
from ..measure.controls import ABOUT, NONE, apart, check_control, with_controls
from ..measure.mixtures import mixtures
from ..measure.pooled import pool
from ..study import Cell, Record, Study, Table, option, settled

MEAN = "mean"


@dataclass(frozen=True)
class Options:
    """What is trained and measured."""

    mixtures: tuple[str, ...] = option(
        (), "names of ready ones, YAML files of names and shares, run files; the first is the base"
    )
    steps: int = option(0, "of the cooldown; by default what is left of the run")
    seeds: int = option(3, "orders of the data; the first is that of the run")
    tasks: tuple[str, ...] = option(("reasoning_primitives",), "tasks or groups of them")
    items: int = option(200, "questions a task")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    split: str = option("test", f"of the questions: {', '.join(SPLITS)}")
    control: str = option(NONE, ABOUT, later=True)
    seed: int = option(0, "which questions and examples are drawn")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each checkpoint, mixture and order of the data."""
    whole("seeds", options.seeds, 1, 10_000)
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_control(task_names(options.tasks), options.control)
    kept = settled(options, "mixtures", "seeds")
    cells = []
    for model in models:
        parent = Parent.read(model)
        parent.check(options.steps)
        for change in mixtures(options.mixtures, parent.run):
            run = continued(parent, change, steps=options.steps)
            check_data(parent, run)
            told = {"shares": change.mixture, "sources": change.sources}
            told |= {"data": data} if (data := data_of(run)) else {}
            for seed in range(options.seeds):
                params = {"mixture": change.name, "seed": seed}
                cells.append(Cell("cooldown", model.name, model.path, params, kept | told))
    return cells


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """A cooldown, and the accuracy where it ends."""
    told = cell.options
    change = Change(cell.params["mixture"], told["shares"], told["sources"])
    parent = Parent.read(Model.read(cell.path))
    run = continued(parent, change, cell.params["seed"], options.steps)
    checkpoint = str(cooled(parent, run, out, loaded.say))
    model, _ = loaded(checkpoint)
    base, more = current_schedule(model), {"mixture": change.name, "training_seed": run.seed}
    rows = []
    for name, of in with_controls(task_names(options.tasks), options.control):
        asked = ask(loaded, name, options, options.split)
        [right] = right_answers(loaded, asked, [base])
        rows.append(accuracy_row(right, asked, schedule=str(base), **more, **of))
    data = {"from_step": parent.step, "run": run.model_dump(mode="json")}
    return {"rows": rows, "data": data, "checkpoint": checkpoint}


@dataclass(frozen=True)
class Line:
    """A mixture on a task, or on the mean of all.

    Args:
        values: of each seed.
        gains: over the base, of each seed that the base has too.
        low, high: of the mean gain, over items.
    """

    model: str
    mixture: str
    task: str
    values: tuple[float, ...]
    gains: tuple[float, ...]
    low: float | None
    high: float | None
    n: int
    chance: float

    @property
    def gain(self) -> float | None:
        """The mean over seeds; None of the base."""
        return statistics.fmean(self.gains) if self.gains else None


def lines(records: Sequence[Record]) -> list[Line]:
    """Every mixture of every checkpoint; the first one is the base."""
    found = []
    for model in dict.fromkeys(record["cell"]["model"] for record in records):
        mine = [record for record in records if record["cell"]["model"] == model]
        tasks = [row["task"] for row in mine[0]["rows"]]
        for task in [*tasks, *([MEAN] if len(tasks) > 1 else [])]:
            found += _lines(model, task, mine)
    return found


def _lines(model: str, task: str, records: Sequence[Record]) -> list[Line]:
    cells: dict[str, dict[int, str]] = {}  # mixture to seed to the cell's name
    answers = {}
    for record in records:
        params, name = record["cell"]["params"], record["cell"]["id"]
        cells.setdefault(params["mixture"], {})[params["seed"]] = name
        answers[name] = [row["answers"] for row in record["rows"] if task in (row["task"], MEAN)]
    together = pool(answers)
    rows = [row for row in records[0]["rows"] if task in (row["task"], MEAN)]
    chance = statistics.fmean(row["chance"] for row in rows)
    base = next(iter(cells.values()))
    found = []
    for mixture, seeds in cells.items():
        values = tuple(together.share(name) for name in seeds.values())
        pairs = [] if seeds is base else [(seeds[s], base[s]) for s in seeds if s in base]
        low, high = together.gain(pairs)
        gains = tuple(together.share(a) - together.share(b) for a, b in pairs)
        line = Line(model, mixture, task, values, gains, low, high, together.items, chance)
        found.append(line)
    return found


def over_seeds(values: Sequence[float], within: Interval) -> str:
    """The 95 % interval of a mean over seeds (Student's t), as a table shows it.

    >>> over_seeds([0.5, 0.6, 0.7], SHARE), over_seeds([0.5, 0.5], SHARE), over_seeds([0.5], SHARE)
    ('[0.352, 0.848]', 'no spread', '')
    """
    if len(values) < 2:
        return ""
    found = seeds_interval(values, within)
    return "no spread" if found is None else "[{:.3f}, {:.3f}]".format(*found)


def table(records: Sequence[Record]) -> Table:
    """Each mixture, and its gain over the first on the same items.

    ``over seeds`` is Student's interval of the column before it, ``low`` and ``high`` of the gain
    are over items (95 %).
    """
    plain, controls = apart(records)
    beside = {_place(line): line.gain for line in lines(controls)}
    if len({line.task for line in lines(controls)}) < len({line.task for line in lines(plain)}):
        beside |= {place: None for place in beside if MEAN in place}  # it is of fewer tasks
    return [
        {
            "model": line.model,
            "mixture": line.mixture,
            "task": line.task,
            "seeds": len(line.values),
            "value": statistics.fmean(line.values),
            "over seeds": over_seeds(line.values, SHARE),
            "gain": line.gain,
            "gain over seeds": over_seeds(line.gains, CHANGE),
            "low": line.low,
            "high": line.high,
            **({"control gain": beside.get(_place(line))} if beside else {}),
            "n": line.n,
            "chance": line.chance,
        }
        for line in lines(plain)
    ]


def _place(line: Line) -> tuple[str, str, str]:
    return line.model, line.mixture, line.task


def chart(records: Sequence[Record]) -> Any:
    """A panel for each task: every seed a dot, the mean and its interval over seeds."""
    alt = charts.altair()
    found = lines(apart(records)[0])
    models = list(dict.fromkeys(line.model for line in found))
    mixed = list(dict.fromkeys(line.mixture for line in found))
    panels = []
    for task in dict.fromkeys(line.task for line in found):
        mine = [line for line in found if line.task == task]
        means = []
        for line in mine:
            place = {"model": line.model, "mixture": line.mixture, "chance": line.chance}
            place |= ends(seeds_interval(line.values, SHARE))
            means.append(place | {"value": statistics.fmean(line.values)})
        dots = [
            {"model": line.model, "mixture": line.mixture, "value": value}
            for line in mine
            for value in line.values
        ]
        seeds = len(mine[0].values)
        about = [f"n = {mine[0].n}, chance {mine[0].chance:.2f}"]
        about += [f"bars: 95 % over {seeds} seeds"] if seeds > 1 else []
        title = alt.Title(task, subtitle=about)
        x = alt.X("mixture:N", sort=mixed, title="mixture", axis=alt.Axis(labelAngle=0))
        side = alt.XOffset("model:N", sort=models)
        value = alt.Y("value:Q", title="accuracy", scale=alt.Scale(zero=False))
        colour = charts.colour("model", models)
        base = alt.Chart(charts.rows(means), title=title).encode(x=x, xOffset=side, color=colour)
        bars = base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q")
        ticks = base.mark_point(filled=True, size=70, opacity=1).encode(y=value)
        single = (
            alt.Chart(charts.rows(dots))
            .mark_point(size=20, opacity=0.6)
            .encode(x=x, xOffset=side, y=value, color=colour)
        )
        panels.append(alt.layer(bars, single, ticks).properties(width=65 * len(mixed), height=170))
    return alt.concat(*panels, columns=4 if len(panels) == 4 else 3)


STUDY = Study(
    name="cooldown",
    asks="What does another mixture in the cooldown change, beyond the order of the data?",
    figure="Tables 2 and 4",
    cost="for each mixture and seed the steps of the cooldown, then a forward pass for each item",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("mixture",),
    over=("cell.seed",),
)
