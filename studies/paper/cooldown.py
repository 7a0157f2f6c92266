"""Cooldown mixtures: what does another mixture in the cooldown change (paper Tables 2, 4)?

One checkpoint cools down on each of several mixtures, with several orders of the data, and each
final checkpoint is scored. Mixtures are compared with the first one, seed by seed on equal items.
Seeds differ in the order of the data alone: all start from the same weights.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import whole
from ...core.statistics import CHANGE, SHARE, Interval, ends, seeds_interval
from ...tasks.questions import task_names
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import accuracy_row, item_correctness, load_questions
from ..measure.controls import check_scoring, split_controls, with_controls
from ..measure.cooldown_branches import (
    CooldownVariant,
    ParentCheckpoint,
    check_data,
    cooldown_run,
    shard_digests,
    train_cooldown,
)
from ..measure.cooldown_mixtures import select_mixtures
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

MEAN = "mean"


@dataclass(frozen=True)
class Options(QuestionOptions):
    """Options of cooldown."""

    mixtures: tuple[str, ...] = option(
        (),
        "built-in mixtures, YAML files of names and shares, run files; the first is the baseline",
        flags="--mixture",
    )
    steps: int = option(0, "steps of the cooldown; by default those left in the run")
    seeds: int = option(3, "orders of the data; the first one is the run's own")
    tasks: tuple[str, ...] = tasks_option()
    split: str = split_option()
    control: str = control_option()


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each checkpoint, mixture and order of the data."""
    whole("seeds", options.seeds, 1, 10_000)
    check_scoring(options)
    recorded = recorded_options(options, "mixtures", "seeds")
    cells = []
    for model in models:
        parent = ParentCheckpoint.read(model)
        parent.check(options.steps)
        for change in select_mixtures(options.mixtures, parent.run):
            run = cooldown_run(parent, change, steps=options.steps)
            check_data(parent, run)
            mixture = {"shares": change.mixture, "sources": change.sources}
            mixture |= {"data": data} if (data := shard_digests(run)) else {}
            for seed in range(options.seeds):
                params = {"mixture": change.name, "seed": seed}
                cells.append(
                    StudyCell("cooldown", model.name, model.path, params, recorded | mixture)
                )
    return cells


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Train a cooldown, and measure the accuracy of its last checkpoint."""
    from ...models.looping.config import current_schedule

    shares, sources = cell.options["shares"], cell.options["sources"]
    change = CooldownVariant(cell.params["mixture"], shares, sources)
    parent = ParentCheckpoint.read(StudyModel.read(cell.path))
    run = cooldown_run(parent, change, cell.params["seed"], options.steps)
    checkpoint = str(train_cooldown(parent, run, out, loader.say))
    model, _ = loader(checkpoint)
    base, more = current_schedule(model), {"mixture": change.name, "training_seed": run.seed}
    rows = []
    for name, of in with_controls(task_names(options.tasks), options.control):
        questions = load_questions(loader, name, options, options.split)
        [right] = item_correctness(loader, questions, [base])
        rows.append(accuracy_row(right, questions, schedule=str(base), **more, **of))
    data = {"from_step": parent.step, "run": run.model_dump(mode="json")}
    return Measurement(rows, data, checkpoint)


@dataclass(frozen=True)
class MixtureResult:
    """Result of a mixture on a task, or on the mean of all tasks.

    Args:
        values: accuracy of each seed.
        gains: gain over the base mixture, of each seed that both have.
        low, high: 95 % interval of the mean gain over items.
        n: number of questions.
        chance: chance level.
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
        """Mean gain over seeds; None for the base mixture."""
        return statistics.fmean(self.gains) if self.gains else None


def mixture_results(records: Sequence[StudyRecord]) -> list[MixtureResult]:
    """Return results of every mixture of every checkpoint; the first mixture is the base."""
    results = []
    for model in dict.fromkeys(record.model_name for record in records):
        mine = [record for record in records if record.model_name == model]
        tasks = [row.task for row in mine[0].rows]
        for task in [*tasks, *([MEAN] if len(tasks) > 1 else [])]:
            results += _task_results(model, task, mine)
    return results


def _task_results(model: str, task: str, records: Sequence[StudyRecord]) -> list[MixtureResult]:
    cells: dict[str, dict[int, str]] = {}  # mixture -> seed -> name of the cell
    answers = {}
    for record in records:
        params, name = record.params, record.id
        cells.setdefault(params["mixture"], {})[params["seed"]] = name
        answers[name] = [row.answers for row in record.rows if task in (row.task, MEAN)]
    together = pool_answers(answers)
    rows = [row for row in records[0].rows if task in (row.task, MEAN)]
    chance = statistics.fmean(row.chance or 0.0 for row in rows)
    base = next(iter(cells.values()))
    results = []
    for mixture, seeds in cells.items():
        values = tuple(together.share(name) for name in seeds.values())
        pairs = [] if seeds is base else [(seeds[s], base[s]) for s in seeds if s in base]
        low, high = together.gain(pairs)
        gains = tuple(together.share(a) - together.share(b) for a, b in pairs)
        about = together.items, chance
        results.append(MixtureResult(model, mixture, task, values, gains, low, high, *about))
    return results


def format_seed_interval(values: Sequence[float], within: Interval) -> str:
    """Format the 95 % interval of a mean over seeds (Student's t) for a table.

    >>> format_seed_interval([0.5, 0.6, 0.7], SHARE), format_seed_interval([0.5, 0.5], SHARE)
    ('[0.352, 0.848]', 'no spread')
    >>> format_seed_interval([0.5], SHARE)
    ''
    """
    if len(values) < 2:
        return ""
    interval = seeds_interval(values, within)
    return "no spread" if interval is None else "[{:.3f}, {:.3f}]".format(*interval)


def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each mixture, with its gain over the first one on the same items.

    ``over seeds`` is Student's 95 % interval of the column before it; ``low`` and ``high`` are the
    95 % interval of the gain over items.
    """
    plain, controls = split_controls(records)
    results, control_results = mixture_results(plain), mixture_results(controls)
    control_gains = {_key(result): result.gain for result in control_results}
    if len({result.task for result in control_results}) < len({result.task for result in results}):
        # their mean is over fewer tasks
        control_gains |= {key: None for key in control_gains if MEAN in key}
    return [
        {
            "model": result.model,
            "mixture": result.mixture,
            "task": result.task,
            "seeds": len(result.values),
            "value": statistics.fmean(result.values),
            "over seeds": format_seed_interval(result.values, SHARE),
            "gain": result.gain,
            "gain over seeds": format_seed_interval(result.gains, CHANGE),
            "low": result.low,
            "high": result.high,
            **({"control gain": control_gains.get(_key(result))} if control_gains else {}),
            "n": result.n,
            "chance": result.chance,
        }
        for result in results
    ]


def _key(result: MixtureResult) -> tuple[str, str, str]:
    return result.model, result.mixture, result.task


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw a panel for each task: a dot for each seed, the mean and its interval over seeds."""
    alt = charts.altair()
    results = mixture_results(split_controls(records)[0])
    models = list(dict.fromkeys(result.model for result in results))
    mixtures = list(dict.fromkeys(result.mixture for result in results))
    panels = []
    for task in dict.fromkeys(result.task for result in results):
        mine = [result for result in results if result.task == task]
        means = []
        for result in mine:
            place = {"model": result.model, "mixture": result.mixture, "chance": result.chance}
            place |= ends(seeds_interval(result.values, SHARE))
            means.append(place | {"value": statistics.fmean(result.values)})
        dots = [
            {"model": result.model, "mixture": result.mixture, "value": value}
            for result in mine
            for value in result.values
        ]
        seeds = len(mine[0].values)
        about = [f"n = {mine[0].n}, chance {mine[0].chance:.2f}"]
        about += [f"bars: 95 % over {seeds} seeds"] if seeds > 1 else []
        title = alt.Title(task, subtitle=about)
        x = alt.X("mixture:N", sort=mixtures, title="mixture", axis=alt.Axis(labelAngle=0))
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
        panels.append(
            alt.layer(bars, single, ticks).properties(width=65 * len(mixtures), height=170)
        )
    return alt.concat(*panels, columns=4 if len(panels) == 4 else 3)


STUDY = Study(
    name="cooldown",
    question="What does another mixture in the cooldown change, beyond the order of the data?",
    figure="Tables 2 and 4",
    cost="for each mixture and seed the steps of the cooldown, then a forward pass for each item",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("mixture",),
    averaged_over=("cell.seed",),
)
