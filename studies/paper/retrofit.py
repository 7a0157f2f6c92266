"""Retrofit: can a model learn to loop in its cooldown (paper Table 2, Figures 2, 14, 15)?

One checkpoint cools down twice: with a block that is repeated once, and without a repeat. Then
blocks are repeated at inference in both final models. Repeats count from the parent's schedule: as
trained, the retrofitted model runs its block with one repeat, the other model with none.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, one_of, whole
from ...core.schedule import Schedule
from ...core.schedule_notation import read_range
from ...core.statistics import CHANGE, SHARE, ends, seeds_interval
from ...tasks.questions import task_names
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import (
    accuracy_row,
    item_correctness_per_task,
    load_questions,
)
from ..measure.controls import check_scoring, keep_controlled_tasks, split_controls, with_controls
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
from ..options import (
    QuestionOptions,
    control_option,
    option,
    recorded_options,
    split_option,
    tasks_option,
)
from ..records import StudyRecord
from ..study import Measurement, Study, Table
from .cooldown import format_seed_interval

NONE = "none"
STARTS = ("block", "all")
AS_TRAINED = "as trained"


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of retrofit."""

    blocks: tuple[str, ...] = option(
        (),
        "blocks START:STOP of the schedule, each repeated once in a cooldown of its own",
        flags="--block",
    )
    mixture: str = option(USUAL, "mixture of the cooldown: a built-in one, or a YAML file with one")
    steps: int = option(0, "steps of the cooldown; by default those left in the run")
    seeds: int = option(1, "orders of the data; the first one is the run's own")
    times: tuple[int, ...] = option(
        (1, 2, 3), "extra passes of a block at inference", flags="--repeats"
    )
    starts: str = option(
        "block", "blocks repeated at inference: block (the looped one), or all of its size"
    )
    tasks: tuple[str, ...] = tasks_option()
    split: str = split_option()
    control: str = control_option()


def read_blocks(texts: Sequence[str], schedule: Schedule) -> list[tuple[int, int]]:
    """Read blocks of a schedule.

    >>> read_blocks(["8:12"], Schedule.plain(24))
    [(8, 12)]

    Raises:
        InputError: no block, or one outside the schedule.
    """
    if not texts:
        raise InputError("say which blocks are looped: --block START:STOP, several with commas")
    blocks = []
    for text in texts:
        block = read_range(text)
        schedule.repeat(*block)  # refuses a block outside
        blocks.append(block)
    return blocks


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make, for each checkpoint and seed, a cell for the plain cooldown and one for each block."""
    whole("seeds", options.seeds, 1, 10_000)
    for times in options.times:
        whole("repeats", times, 1, 1000)
    one_of("choice of starts", options.starts, STARTS)
    check_scoring(options)
    recorded = recorded_options(options, "seeds", "mixture")
    cells = []
    for model in models:
        parent = ParentCheckpoint.read(model)
        parent.check(options.steps)
        changes = select_mixtures([options.mixture], parent.run)
        if len(changes) > 1:
            raise InputError(f"{options.mixture} holds {len(changes)} mixtures: give one with one")
        blocks = [f"{a}:{b}" for a, b in read_blocks(options.blocks, model.schedule)]
        mixture: dict[str, Any] = {
            "mixture": changes[0].name,
            "shares": changes[0].mixture,
            "sources": changes[0].sources,
        }
        for block in dict.fromkeys((NONE, *blocks)):
            # all blocks are repeated in the model without a loop, a looped block in its own model
            mixture["blocks"] = blocks if block == NONE else [block]
            run = cooldown_run(parent, _change(mixture, block), steps=options.steps)
            check_data(parent, run)
            mixture |= {"data": data} if (data := shard_digests(run)) else {}
            for seed in range(options.seeds):
                params = {"block": block, "seed": seed}
                cells.append(
                    StudyCell("retrofit", model.name, model.path, params, recorded | mixture)
                )
    return cells


def _change(mixture: dict[str, Any], block: str) -> CooldownVariant:
    """Return what a cell's cooldown changes in the parent's run."""

    if block == NONE:
        return CooldownVariant(mixture["mixture"], mixture["shares"], mixture["sources"])
    start, stop = map(int, block.split(":"))
    name = f"{mixture['mixture']}-retrofit-{start}-{stop - 1}"
    return CooldownVariant(name, mixture["shares"], mixture["sources"], (start, stop))


def schedules(
    base: Schedule, looped: str, blocks: Sequence[str], options: Options
) -> Iterator[tuple[str, int, Schedule]]:
    """Yield the schedules to score: block, number of repeats, schedule.

    Args:
        base: schedule of the parent.
        looped: block that was looped in the cooldown, or ``none``.
        blocks: blocks to repeat; others of their size are added with ``options.starts`` all.
    """
    yield NONE, 0, base
    every = dict.fromkeys(read_blocks(blocks, base))
    if options.starts == "all":
        for size in sorted({stop - start for start, stop in every}):
            every |= {(i, i + size): None for i in range(len(base) - size + 1)}
    for start, stop in sorted(every):
        block = f"{start}:{stop}"
        as_trained = {1} if block == looped else set()
        for times in sorted({*options.times} | as_trained):
            yield block, times, base.repeat(start, stop, times)


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Train a cooldown, and measure its last checkpoint with blocks repeated."""

    before = StudyModel.read(cell.path)
    parent, block = ParentCheckpoint.read(before), cell.params["block"]
    run = cooldown_run(parent, _change(cell.options, block), cell.params["seed"], options.steps)
    checkpoint = str(train_cooldown(parent, run, out, loader.say))
    loader(checkpoint)
    scored = list(schedules(before.schedule, block, cell.options["blocks"], options))
    names = with_controls(task_names(options.tasks), options.control)
    several = [load_questions(loader, name, options, options.split) for name, _ in names]
    correct = item_correctness_per_task(loader, several, [schedule for _, _, schedule in scored])
    more = {"trained": block, "training_seed": run.seed}
    rows = [
        accuracy_row(
            values, questions, block=repeated, times=times, schedule=str(schedule), **more, **of
        )
        for (_, of), questions, right in zip(names, several, correct, strict=True)
        for (repeated, times, schedule), values in zip(scored, right, strict=True)
    ]
    data = {"from_step": parent.step, "run": run.model_dump(mode="json")}
    return Measurement(rows, data, checkpoint)


@dataclass(frozen=True)
class RetrofitResult:
    """Mean accuracy over tasks after a plain and a looped cooldown, at one number of repeats.

    Args:
        looped: block that was looped in the cooldown.
        block: block that is repeated at inference.
        times: number of repeats; None where each model runs by its own schedule.
        before, after: accuracy after the plain and the looped cooldown, one value per seed.
        low, high: 95 % interval of the mean difference over items.
        n: number of questions over all tasks.
        chance: chance level, averaged over the tasks.
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
        """Mean difference over seeds."""
        return statistics.fmean(self.gains)

    @property
    def gains(self) -> tuple[float, ...]:
        """Difference of each seed."""
        return tuple(b - a for a, b in zip(self.before, self.after, strict=True))


def retrofit_results(records: Sequence[StudyRecord]) -> list[RetrofitResult]:
    """Compare each looped cooldown of a checkpoint with its plain cooldown, seed by seed."""
    cells: dict[str, dict[str, dict[int, StudyRecord]]] = {}
    for record in records:
        params, model = record.params, record.model_name
        blocks = cells.setdefault(model, {})
        blocks.setdefault(params["block"], {})[params["seed"]] = record
    results = []
    for model, blocks in cells.items():
        unlooped = blocks.get(NONE, {})
        for looped, seeds in blocks.items():
            pairs = [(unlooped[seed], seeds[seed]) for seed in seeds if seed in unlooped]
            if looped == NONE or not pairs:
                continue
            results.append(_result(model, looped, pairs, looped, None))
            places = {(row["block"], row["times"]): None for row in pairs[0][1].rows}
            measured = {(row["block"], row["times"]) for row in pairs[0][0].rows}
            for block, times in places:
                if (block, times) in measured:
                    results.append(_result(model, looped, pairs, block, times))
    return results


def _result(
    model: str,
    looped: str,
    pairs: list[tuple[StudyRecord, StudyRecord]],
    block: str,
    times: int | None,
) -> RetrofitResult:
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
    rows = [row for row in pairs[0][0].rows if row["times"] == 0]
    return RetrofitResult(
        model,
        looped,
        block,
        times,
        tuple(together.share(before) for _, before in names),
        tuple(together.share(after) for after, _ in names),
        low,
        high,
        together.items,
        statistics.fmean(row.chance or 0.0 for row in rows),
    )


def _answers(record: StudyRecord, place: tuple[str, int]) -> list[str]:
    """Return per-item correctness on each task, one string of 0 and 1 per task.

    Args:
        place: block repeated at inference, and number of repeats.
    """
    return [row.answers for row in record.rows if (row["block"], row["times"]) == place]


def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate mean accuracy without and with the loop in the cooldown, and the gain.

    ``as trained``: each model runs by its own schedule. ``over seeds`` is Student's 95 % interval
    of the gain; ``low`` and ``high`` are its 95 % interval over items.
    """
    plain, controls = split_controls(records)
    control_gains = _gains(controls)
    controlled_gains = _gains(keep_controlled_tasks(plain, controls)) if control_gains else {}
    return [
        {
            "model": result.model,
            "looped": result.looped,
            "repeated": AS_TRAINED if result.times is None else _repeats(result),
            "seeds": len(result.before),
            "without": statistics.fmean(result.before),
            "with": statistics.fmean(result.after),
            "gain": result.gain,
            "over seeds": format_seed_interval(result.gains, CHANGE),
            "low": result.low,
            "high": result.high,
            **_control_columns(result, controlled_gains, control_gains),
            "n": result.n,
            "chance": result.chance,
        }
        for result in retrofit_results(plain)
    ]


def _gains(records: Sequence[StudyRecord]) -> dict[tuple[Any, ...], float]:
    return {_key(result): result.gain for result in retrofit_results(records)}


def _control_columns(
    result: RetrofitResult,
    controlled_gains: dict[tuple[Any, ...], float],
    control_gains: dict[tuple[Any, ...], float],
) -> dict[str, Any]:
    """Return columns with the gains on control questions, and on the tasks that have them."""
    if not control_gains:
        return {}
    key = _key(result)
    return {
        "gain, controlled tasks": controlled_gains.get(key),
        "control gain": control_gains.get(key),
    }


def _key(result: RetrofitResult) -> tuple[Any, ...]:
    return result.model, result.looped, result.block, result.times


def _repeats(result: RetrofitResult) -> str:
    return NONE if result.times == 0 else f"{result.block} ×{result.times}"


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a panel for each looped block: accuracy against repeats, with and without the loop."""
    alt = charts.altair()
    results = [
        result
        for result in retrofit_results(split_controls(records)[0])
        if result.times is not None
    ]
    if not results:
        raise InputError("there is nothing to draw before a block and its control are measured")
    models = list(dict.fromkeys(result.model for result in results))
    conditions = ["looped in the cooldown", "not looped"]
    panels = []
    for looped in dict.fromkeys(result.looped for result in results):
        mine = [result for result in results if result.looped == looped]
        values = []
        for result in mine:
            if result.times == 0 or result.block == looped:
                for condition, some in zip(conditions, (result.after, result.before), strict=True):
                    point = {"model": result.model, "condition": condition, "times": result.times}
                    over = ends(seeds_interval(some, SHARE))
                    values.append({**point, **over, "value": statistics.fmean(some)})
        seeds = len(mine[0].before)
        about = f"n = {mine[0].n}" + (f", bars: 95 % over {seeds} seeds" if seeds > 1 else "")
        title = alt.Title(f"steps {looped}", subtitle=f"{about}; dotted: chance")
        x = charts.steps_line("times", "repeats of the block")
        x.scale = alt.Scale(padding=12, nice=False)
        base = alt.Chart(charts.rows(values), title=title).encode(
            x=x,
            color=charts.colour("model", models),
        )
        value = alt.Y("value:Q", title="mean accuracy", scale=alt.Scale(zero=False))
        dash = charts.dash("condition", conditions)
        dash.legend = alt.Legend(title=None, symbolType="stroke", symbolSize=400)
        line_mark = base.mark_line().encode(y=value, strokeDash=dash)
        dots = base.mark_point(filled=True, size=40, opacity=1).encode(y=value)
        bars = base.mark_rule().encode(y="low:Q", y2="high:Q")
        chance = charts.chance_line(mine[0].chance)
        panels.append(alt.layer(chance, bars, dots, line_mark).properties(width=260, height=190))
    return alt.concat(*panels, columns=3)


STUDY = Study(
    name="retrofit",
    question="Does looping a block in the cooldown help, and does it make more repeats useful?",
    figure="Table 2, Figures 2, 14 and 15",
    cost="for each block, none, and seed the steps of the cooldown; then for each item a forward "
    "pass plus, for each of --repeats, the block and what comes after it",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    example="--block 2:4",
    conditions=("trained", "block", "times"),
    averaged_over=("cell.seed",),
)
