"""Adaptive exit: how many steps does early exit save, and at what accuracy? Beyond the paper.

One pass answers a question at all exits and records the scores that the criteria of ``EarlyExit``
compare. Every criterion and threshold is then evaluated on the same answers; the baseline is a
fixed exit for all questions. All tokens of a question leave at the same exit, so that a step
counted as saved runs for none of them. Thresholds are chosen on validation items and reported on
test items. ``--rule geiping`` follows Geiping et al. (see ``EarlyExit.geiping``).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, one_of, whole
from ...core.schedule import Schedule
from ...core.significance import corrected, paired
from ...core.statistics import CHANGE, ends
from ...tasks.questions import Questions, task_names
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure.accuracy import SPLITS, accuracy_row, check_accuracy, load_questions
from ..measure.tuned_lens import LensOptions, check_lens, load_or_train_lens
from ..options import (
    QuestionOptions,
    items_option,
    option,
    recorded_options,
    tasks_option,
)
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table
from .adaptive_exit_chart import chart
from .adaptive_exit_costs import CRITERIA, FIXED, ExitAnswers, ExitCosts, choose_threshold

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.diagnostics import Lens

EXITS = ("step", "loop")
JUDGED = ("answer", "all")
RULES = ("ours", "geiping")
LENS_TOKENS = 128  # of a prompt that a lens learns from


@dataclass(frozen=True)
class Options(QuestionOptions, LensOptions):
    """Options of adaptive-exit."""

    tasks: tuple[str, ...] = tasks_option("variable_assignment_math_d0")
    exits: str = option("step", "exits after each step, or after each loop of the looped block")
    loops: int = option(0, "loops of the looped block; 0: as the model has it")
    judged: str = option(
        "answer", "tokens that must have settled: the one before the answer, or all"
    )
    rule: str = option(
        "ours",
        "comparison rule of the criteria: ours, or geiping with --exits loop (see EarlyExit)",
        later=True,
    )
    items: int = items_option(about="questions a task, of each split")


@dataclass(frozen=True)
class ExitSchedules:
    """Schedules of a model's exits.

    Args:
        exits: schedule that runs for each exit; the last one is the whole model.
        checks: schedule that has run when the criterion reads the state, one for each exit.
        before: layers before the looped block.
    """

    exits: tuple[Schedule, ...]
    checks: tuple[Schedule, ...]
    before: tuple[int, ...] = ()

    @property
    def coda(self) -> tuple[int, ...]:
        """Layers that run after the criterion has read the state at an exit."""
        return self.exits[0].layers[len(self.checks[0]) :]


def exit_schedules(base: Schedule, options: Options) -> ExitSchedules:
    """Return the exits of a schedule.

    Raises:
        InputError: no exit saves a step.
    """
    full = base.with_loops(options.loops) if options.loops else base
    prefixes = tuple(Schedule(full.layers[:step]) for step in range(1, len(full) + 1))
    if options.exits == "step":
        if len(full) < 3:
            raise InputError(f"schedule {full} runs {len(full)} steps: no exit saves any of them")
        return ExitSchedules(prefixes, prefixes)
    looped = [section for section in full.sections if section.times > 1]
    if len(looped) != 1:
        raise InputError(
            f"schedule {full} has {len(looped)} looped blocks: leaving after a loop needs one; "
            "give --exits step"
        )
    [(start, size, times)] = looped
    if times < 3:
        raise InputError(
            f"schedule {full} runs its block {times} times: a change shows after the second loop, "
            "so leaving early needs three; give --loops or --exits step"
        )
    counts = range(1, times + 1)
    after = full.layers[start + size * times :]
    exits = tuple(Schedule(full.layers[: start + size * count] + after) for count in counts)
    checks = tuple(prefixes[start + size * count - 1] for count in counts)
    return ExitSchedules(exits, checks, full.layers[:start])


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model and task."""
    one_of("kind of exits", options.exits, EXITS)
    one_of("choice of judged tokens", options.judged, JUDGED)
    one_of("rule", options.rule, RULES)
    if options.rule == "geiping" and (options.exits != "loop" or options.judged != "answer"):
        raise InputError(
            "--rule geiping judges the last token after each loop: give --exits loop and leave "
            "--judged out"
        )
    whole("loops", options.loops, 0, 1000)
    for split in SPLITS:
        check_accuracy(options.tasks, options.items, options.shots, options.seed, split)
    check_lens(models, options, LENS_TOKENS)
    reads = options.lens is not None or options.lens_updates
    if reads and (options.exits == "loop" or options.loops):
        raise InputError("a lens is for the model's own steps: leave --loops and --exits loop out")
    for model in models:
        if not exit_schedules(model.schedule, options).before and options.rule == "geiping":
            raise InputError(
                f"schedule {model.schedule} begins with its looped block: --rule geiping compares "
                "the first loop with what enters the block, and needs layers before it"
            )
    recorded = recorded_options(options, "tasks", "exits")
    return [
        StudyCell(
            "adaptive-exit",
            model.name,
            model.path,
            {"task": name, "exits": options.exits},
            recorded,
        )
        for model in models
        for name in task_names(options.tasks)
    ]  # fmt: skip


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure answers and scores at every exit, on validation and test items."""
    import torch

    from ...models.looping.config import current_schedule
    from ..measure.schedule_sweep import ScheduleSweep
    from .adaptive_exit_scores import score_exits

    model, _ = loader(cell.path)
    schedules = exit_schedules(current_schedule(model), options)
    lens = load_or_train_lens(cell, loader, options, out, LENS_TOKENS, options.seed)
    checks = schedules.checks if options.exits == "loop" else ()
    start = (Schedule(schedules.before),) if options.rule == "geiping" else ()
    sweep = ScheduleSweep(model, [*schedules.exits, *checks, *start])
    rows: list[Row] = []
    scores, questions = {}, []
    for split in SPLITS:
        name = cell.params["task"]
        some = load_questions(loader, name, options, split)
        questions.append(some)
        each = [
            score_exits(sweep, question, len(schedules.exits), options, lens)
            for question in loader.with_bar(some.questions, f"{split} questions")
        ]
        right = torch.stack([row for row, _ in each], dim=1)  # (exits, items)
        for number, (schedule, values) in enumerate(zip(schedules.exits, right, strict=True)):
            rows.append(accuracy_row(values, some, exit=number, steps=len(schedule)))
        scores[split] = {
            name: _rounded(torch.stack([judged[name] for _, judged in each], dim=1))
            for name in CRITERIA
        }
    costs = _costs(model, schedules, questions, options, lens)
    kind = "logit lens" if lens is None else "tuned lens"
    return Measurement(rows, {"lens": kind, "scores": scores, "prices": vars(costs)})


def _rounded(values: Tensor) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values.tolist()]


def _costs(
    model: Any,
    schedules: ExitSchedules,
    questions: Sequence[Questions],
    options: Options,
    lens: Lens | None,
) -> ExitCosts:
    """Count FLOPs per token of layers, and of exit checks."""
    from ...models import cost

    every = [question for some in questions for question in some.questions]
    more = [sum(len(option) - 1 for option in question.options) for question in every]
    contexts = [len(question.context) for question in every]
    tokens = statistics.fmean(a + b for a, b in zip(contexts, more, strict=True))

    def flops(layers: tuple[int, ...]) -> float:
        return cost(model, Schedule(layers), seq_len=max(1, round(tokens))).forward_flops

    first = schedules.exits[-1].layers[:1]
    head = 2 * flops(first) - flops(first * 2)
    width = 0 if lens is None else lens.shifts.shape[1]
    return ExitCosts(
        layers=[flops(schedule.layers) - head for schedule in schedules.exits],
        head=head + 2.0 * width * width,
        last=head,
        tokens=tokens,
        read=statistics.fmean(1 + value for value in more),
        judged=1.0 if options.judged == "answer" else statistics.fmean(contexts),
        reused=options.exits == "step",
        coda=flops(schedules.coda + first) - flops(first) if options.rule == "geiping" else 0.0,
    )


@seed_aggregation.with_seed_means(
    "task",
    "criterion",
    of="difference",
    means=("steps", "saved", "FLOPs saved", "decoding", "accuracy", "all steps"),
    within=CHANGE,
)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate, for each criterion, the cheapest threshold on validation and its savings on test.

    ``FLOPs saved`` is the share saved in scoring a question, whose tokens run together;
    ``decoding`` the share saved in generation, where the criterion is checked for every token.
    ``a look`` is the cost of one exit check, in steps of the model. A criterion without a threshold
    runs all steps. ``difference`` is the paired difference in accuracy to running all steps; ``p``
    is corrected for all criteria, models and tasks (Holm).
    """
    lines: Table = []
    for record in records:
        validation, test = (ExitAnswers.read(record, split) for split in SPLITS)
        last, some = test.exits_taken(FIXED, None), []
        for criterion in (FIXED, *CRITERIA):
            threshold = choose_threshold(validation, criterion)
            exits = test.exits_taken(criterion, threshold)
            checked = FIXED if threshold is None else criterion  # no threshold, no checks
            right, steps, costs = test.correct_at(exits), test.steps, test.costs
            tested = paired(right.tolist(), test.full.tolist())
            question, token = (
                1 - float(flops(exits, checked).mean() / flops(last, FIXED).mean())
                for flops in (costs.question, costs.token)
            )
            some.append(
                {
                    "model": record.model_name,
                    "task": record.rows[0].task,
                    "criterion": criterion,
                    "threshold": threshold,
                    "steps": float(steps[exits].mean()),
                    "of": int(steps[-1]),
                    "saved": 1 - float(steps[exits].mean() / steps[-1]),
                    "FLOPs saved": question,
                    "decoding": token,
                    "a look": costs.check_in_steps(criterion, int(steps[-1])),
                    "accuracy": float(right.mean()),
                    "all steps": float(test.full.mean()),
                    "difference": tested.difference,
                    **ends(None if (exits == last).all() else (tested.low, tested.high)),
                    "p": tested.p,
                    "n": len(right),
                    "chance": record.rows[0].chance,
                }
            )
        lines += some
    return corrected(lines)


STUDY = Study(
    name="adaptive-exit",
    question="How many steps can a model save by leaving when its prediction has settled?",
    figure="beyond the paper",
    cost="a pass a question of two splits and a head an exit; with --exits loop also what comes "
    "after the block, for each loop",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("exits", "steps"),
)
