"""Can a model learn to loop while it cools down (paper Table 2, Figures 2, 14, 15)?

From one checkpoint the cooldown is trained with a block that runs once more, and without. Then the
block is repeated at inference, in both. Numbers of repeats count from the parent's schedule: the
retrofitted model runs its block once more by itself, the one without runs it as the parent did.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.statistics import CHANGE, SHARE, ends, seeds_interval
from ...models import Schedule
from ...tasks.questions import task_names
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import (
    SPLITS,
    accuracy_row,
    check_accuracy,
    item_correctness_per_task,
    load_questions,
)
from ..measure.controls import (
    CONTROL_HELP,
    NO_CONTROL,
    check_control,
    keep_controlled_tasks,
    split_controls,
    with_controls,
)
from ..measure.cooldown_branches import (
    CooldownVariant,
    ParentCheckpoint,
    check_data,
    cooldown_run,
    shard_digests,
    train_cooldown,
)
from ..measure.cooldown_mixtures import USUAL, select_mixtures
from ..measure.pooled_accuracy import pool_answers
from ..study import Cell, Record, Study, Table, option, settled
from .cooldown import over_seeds

NONE = "none"
STARTS = ("block", "all")
AS_TRAINED = "as trained"


@dataclass(frozen=True)
class Options:
    """What is trained and measured."""

    blocks: tuple[str, ...] = option(
        (), "START:STOP of the schedule, each looped once more in a cooldown of its own"
    )
    mixture: str = option(USUAL, "of the cooldown: a ready one, or a YAML file that holds one")
    steps: int = option(0, "of the cooldown; by default what is left of the run")
    seeds: int = option(1, "orders of the data; the first is that of the run")
    times: tuple[int, ...] = option((1, 2, 3), "how often a block is repeated at inference")
    starts: str = option("block", "which blocks are repeated: block (the looped), all of its size")
    tasks: tuple[str, ...] = option(("reasoning_primitives",), "tasks or groups of them")
    items: int = option(200, "questions a task")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    split: str = option("test", f"of the questions: {', '.join(SPLITS)}")
    control: str = option(NO_CONTROL, CONTROL_HELP, later=True)
    seed: int = option(0, "which questions and examples are drawn")


def read_blocks(texts: Sequence[str], schedule: Schedule) -> list[tuple[int, int]]:
    """Blocks of a schedule.

    >>> read_blocks(["8:12"], Schedule.plain(24))
    [(8, 12)]

    Raises:
        InputError: none, or one that the schedule has not.
    """
    if not texts:
        raise InputError("say which blocks are looped: --blocks START:STOP, several with commas")
    found = []
    for text in texts:
        match = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", text)
        if not match:
            raise InputError(f"a block is START:STOP, e.g. 8:12, not '{text[:60]}'")
        block = int(match[1]), int(match[2])
        schedule.repeat(*block)  # refuses a block outside
        found.append(block)
    return found


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """For each checkpoint and seed a cell without a loop, and one for each block."""
    whole("seeds", options.seeds, 1, 10_000)
    for times in options.times:
        whole("times", times, 1, 1000)
    one_of("choice of starts", options.starts, STARTS)
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_control(task_names(options.tasks), options.control)
    kept = settled(options, "seeds", "mixture")
    cells = []
    for model in models:
        parent = ParentCheckpoint.read(model)
        parent.check(options.steps)
        found = select_mixtures([options.mixture], parent.run)
        if len(found) > 1:
            raise InputError(f"{options.mixture} holds {len(found)} mixtures: give one with one")
        blocks = [f"{a}:{b}" for a, b in read_blocks(options.blocks, model.schedule)]
        told: dict[str, Any] = {
            "mixture": found[0].name,
            "shares": found[0].mixture,
            "sources": found[0].sources,
        }
        for block in dict.fromkeys((NONE, *blocks)):
            # the control is asked about all blocks, a looped one about itself
            told["blocks"] = blocks if block == NONE else [block]
            run = cooldown_run(parent, _change(told, block), steps=options.steps)
            check_data(parent, run)
            told |= {"data": data} if (data := shard_digests(run)) else {}
            for seed in range(options.seeds):
                params = {"block": block, "seed": seed}
                cells.append(Cell("retrofit", model.name, model.path, params, kept | told))
    return cells


def _change(told: dict[str, Any], block: str) -> CooldownVariant:
    """What a cell's cooldown does otherwise."""
    if block == NONE:
        return CooldownVariant(told["mixture"], told["shares"], told["sources"])
    start, stop = map(int, block.split(":"))
    name = f"{told['mixture']}-retrofit-{start}-{stop - 1}"
    return CooldownVariant(name, told["shares"], told["sources"], (start, stop))


def schedules(
    base: Schedule, looped: str, blocks: Sequence[str], options: Options
) -> Iterator[tuple[str, int, Schedule]]:
    """What is run: the block, how often it is repeated, and the schedule.

    Args:
        base: of the parent.
        looped: the block that was looped in the cooldown, or ``none``.
        blocks: that are repeated, with others of their size if ``options.starts`` says so.
    """
    yield NONE, 0, base
    found = dict.fromkeys(read_blocks(blocks, base))
    if options.starts == "all":
        for size in sorted({stop - start for start, stop in found}):
            found |= {(i, i + size): None for i in range(len(base) - size + 1)}
    for start, stop in sorted(found):
        block = f"{start}:{stop}"
        as_trained = {1} if block == looped else set()
        for times in sorted({*options.times} | as_trained):
            yield block, times, base.repeat(start, stop, times)


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """A cooldown, and the accuracy where it ends with blocks repeated."""
    before = Model.read(cell.path)
    parent, block = ParentCheckpoint.read(before), cell.params["block"]
    run = cooldown_run(parent, _change(cell.options, block), cell.params["seed"], options.steps)
    checkpoint = str(train_cooldown(parent, run, out, loaded.say))
    loaded(checkpoint)
    tried = list(schedules(before.schedule, block, cell.options["blocks"], options))
    names = with_controls(task_names(options.tasks), options.control)
    several = [load_questions(loaded, name, options, options.split) for name, _ in names]
    found = item_correctness_per_task(loaded, several, [schedule for _, _, schedule in tried])
    more = {"trained": block, "training_seed": run.seed}
    rows = [
        accuracy_row(
            values, asked, block=repeated, times=times, schedule=str(schedule), **more, **of
        )
        for (_, of), asked, right in zip(names, several, found, strict=True)
        for (repeated, times, schedule), values in zip(tried, right, strict=True)
    ]
    data = {"from_step": parent.step, "run": run.model_dump(mode="json")}
    return {"rows": rows, "data": data, "checkpoint": checkpoint}


@dataclass(frozen=True)
class Line:
    """A block repeated so often, without and with the loop in the cooldown: the mean of tasks.

    Args:
        looped: the block that was looped in the cooldown.
        block: that is repeated at inference.
        times: how often; None where each model runs as it was trained.
        before, after: without and with, of each seed.
        low, high: of the mean difference, over items.
    """

    model: str
    looped: str
    block: str
    times: int | None
    before: tuple[float, ...]
    after: tuple[float, ...]
    low: float
    high: float
    n: int
    chance: float

    @property
    def gain(self) -> float:
        """Mean difference."""
        return statistics.fmean(self.gains)

    @property
    def gains(self) -> tuple[float, ...]:
        """Of each seed."""
        return tuple(b - a for a, b in zip(self.before, self.after, strict=True))


def lines(records: Sequence[Record]) -> list[Line]:
    """Every looped block of every checkpoint that has its control with the same seed."""
    cells: dict[str, dict[str, dict[int, Record]]] = {}
    for record in records:
        params, model = record["cell"]["params"], record["cell"]["model"]
        blocks = cells.setdefault(model, {})
        blocks.setdefault(params["block"], {})[params["seed"]] = record
    found = []
    for model, blocks in cells.items():
        control = blocks.get(NONE, {})
        for looped, seeds in blocks.items():
            pairs = [(control[seed], seeds[seed]) for seed in seeds if seed in control]
            if looped == NONE or not pairs:
                continue
            found.append(_line(model, looped, pairs, looped, None))
            places = {(row["block"], row["times"]): None for row in pairs[0][1]["rows"]}
            known = {(row["block"], row["times"]) for row in pairs[0][0]["rows"]}
            for block, times in places:
                if (block, times) in known:
                    found.append(_line(model, looped, pairs, block, times))
    return found


def _line(
    model: str, looped: str, pairs: list[tuple[Record, Record]], block: str, times: int | None
) -> Line:
    answers: dict[str, list[str]] = {}
    for i, (without, with_loop) in enumerate(pairs):
        places = ((NONE, 0), (looped, 1)) if times is None else ((block, times),) * 2
        answers[f"before {i}"] = _answers(without, places[0])
        answers[f"after {i}"] = _answers(with_loop, places[1])
    together = pool_answers(answers)
    names = [(f"after {i}", f"before {i}") for i in range(len(pairs))]
    low, high = together.gain(names)
    assert low is not None
    assert high is not None
    rows = [row for row in pairs[0][0]["rows"] if row["times"] == 0]
    return Line(
        model,
        looped,
        block,
        times,
        tuple(together.share(before) for _, before in names),
        tuple(together.share(after) for after, _ in names),
        low,
        high,
        together.items,
        statistics.fmean(row["chance"] for row in rows),
    )


def _answers(record: Record, place: tuple[str, int]) -> list[str]:
    """Of a record's model with a block repeated, on each task."""
    return [row["answers"] for row in record["rows"] if (row["block"], row["times"]) == place]


def table(records: Sequence[Record]) -> Table:
    """The mean of the tasks without and with the loop in the cooldown, and the gain.

    ``as trained``: each model by its own schedule. ``over seeds`` is Student's interval of the
    gain, ``low`` and ``high`` are over items (95 %).
    """
    plain, controls = split_controls(records)
    beside = {_place(line): line.gain for line in lines(controls)}
    same = (
        {_place(line): line.gain for line in lines(keep_controlled_tasks(plain, controls))}
        if beside
        else {}
    )
    return [
        {
            "model": line.model,
            "looped": line.looped,
            "repeated": AS_TRAINED if line.times is None else _said(line),
            "seeds": len(line.before),
            "without": statistics.fmean(line.before),
            "with": statistics.fmean(line.after),
            "gain": line.gain,
            "over seeds": over_seeds(line.gains, CHANGE),
            "low": line.low,
            "high": line.high,
            **_controls(line, same, beside),
            "n": line.n,
            "chance": line.chance,
        }
        for line in lines(plain)
    ]


def _controls(
    line: Line, same: dict[tuple[Any, ...], float], beside: dict[tuple[Any, ...], float]
) -> dict[str, Any]:
    """The gain on control questions, beside that on the same tasks without."""
    if not beside:
        return {}
    place = _place(line)
    return {"gain, controlled tasks": same.get(place), "control gain": beside.get(place)}


def _place(line: Line) -> tuple[Any, ...]:
    return line.model, line.looped, line.block, line.times


def _said(line: Line) -> str:
    return NONE if line.times == 0 else f"{line.block} ×{line.times}"


def chart(records: Sequence[Record]) -> Any:
    """A panel for each looped block: accuracy against its repeats, with and without the loop."""
    alt = charts.altair()
    found = [line for line in lines(split_controls(records)[0]) if line.times is not None]
    if not found:
        raise InputError("there is nothing to draw before a block and its control are measured")
    models = list(dict.fromkeys(line.model for line in found))
    kinds = ["looped in the cooldown", "not looped"]
    panels = []
    for looped in dict.fromkeys(line.looped for line in found):
        mine = [line for line in found if line.looped == looped]
        values = []
        for line in mine:
            if line.times == 0 or line.block == looped:
                for kind, some in zip(kinds, (line.after, line.before), strict=True):
                    point = {"model": line.model, "kind": kind, "times": line.times}
                    over = ends(seeds_interval(some, SHARE))
                    values.append({**point, **over, "value": statistics.fmean(some)})
        seeds = len(mine[0].before)
        about = f"n = {mine[0].n}" + (f", bars: 95 % over {seeds} seeds" if seeds > 1 else "")
        title = alt.Title(f"steps {looped}", subtitle=f"{about}; dotted: chance")
        x = charts.steps_line("times", "times the block is repeated")
        x.scale = alt.Scale(padding=12, nice=False)
        base = alt.Chart(charts.rows(values), title=title).encode(
            x=x,
            color=charts.colour("model", models),
        )
        value = alt.Y("value:Q", title="mean accuracy", scale=alt.Scale(zero=False))
        dash = charts.dash("kind", kinds)
        dash.legend = alt.Legend(title=None, symbolType="stroke", symbolSize=400)
        line_mark = base.mark_line().encode(y=value, strokeDash=dash)
        dots = base.mark_point(filled=True, size=40, opacity=1).encode(y=value)
        bars = base.mark_rule().encode(y="low:Q", y2="high:Q")
        chance = (
            alt.Chart(charts.rows([{"chance": mine[0].chance}]))
            .mark_rule(strokeDash=[1, 3], color="#888")
            .encode(y="chance:Q")
        )
        panels.append(alt.layer(chance, bars, dots, line_mark).properties(width=260, height=190))
    return alt.concat(*panels, columns=3)


STUDY = Study(
    name="retrofit",
    asks="Does looping a block in the cooldown help, and does it make more repeats useful?",
    figure="Table 2, Figures 2, 14 and 15",
    cost="for each block, none, and seed the steps of the cooldown; then for each item a forward "
    "pass plus, for each of --times, the block and what comes after it",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    example="--blocks 2:4",
    compares=("trained", "block", "times"),
    over=("cell.seed",),
)
