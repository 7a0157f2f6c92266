"""How many steps can be saved by leaving when a prediction has settled? Beyond the paper.

All exits of a question are answered in one pass, and what the criteria of ``EarlyExit`` look at is
recorded beside them: every criterion and threshold is then judged on the same answers, against
leaving at a fixed exit. A question leaves as a whole, all its tokens at the same exit, so that what
is counted as saved would not have run. Thresholds are chosen on validation, reported on test.
``--rule geiping`` judges as Geiping et al. do (see ``EarlyExit.geiping``).
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError, one_of, whole
from ...core.significance import corrected, paired
from ...core.statistics import CHANGE, ends
from ...models import EarlyExit, Schedule, cost
from ...models.diagnostics import Lens, Trace, exit_logits
from ...models.looping.config import current_schedule
from ...models.looping.early_exit import exit_signal, initial_signal, signal_change
from ...tasks.questions import Question, Questions, task_names
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure.accuracy import SPLITS, accuracy_row, ask, check_accuracy
from ..measure.schedule_sweep import Sweep, option_scores
from ..measure.tuned_lens import LensOptions, check_lens, the_lens
from ..study import Cell, Record, Study, Table, option, settled
from .adaptive_exit_chart import chart
from .adaptive_exit_costs import CRITERIA, FIXED, Exits, Prices, chosen

EXITS = ("step", "loop")
JUDGED = ("answer", "all")
RULES = ("ours", "geiping")
LENS_TOKENS = 128  # of a text that a lens learns from


@dataclass(frozen=True)
class Options(LensOptions):
    """What is measured."""

    tasks: tuple[str, ...] = option(("variable_assignment_math_d0",), "tasks or groups of them")
    exits: str = option("step", "after each step, or after each loop of the looped block")
    loops: int = option(0, "how often looped blocks run in all; 0: as the model has it")
    judged: str = option("answer", "what must have settled: the token before the answer, or all")
    rule: str = option(
        "ours",
        "how criteria judge: ours, or geiping, with --exits loop (see EarlyExit)",
        later=True,
    )
    items: int = option(200, "questions a task, of each split")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    seed: int = option(0, "which questions and examples are drawn")


@dataclass(frozen=True)
class Ways:
    """Where a model can be left.

    Args:
        exits: what runs in all if it is left there; the last is all of it.
        looks: what has run when the criterion looks, one for each exit.
        before: what runs before the looped block, if there is one.
    """

    exits: tuple[Schedule, ...]
    looks: tuple[Schedule, ...]
    before: tuple[int, ...] = ()

    @property
    def coda(self) -> tuple[int, ...]:
        """What runs after a look at an exit."""
        return self.exits[0].layers[len(self.looks[0]) :]


def ways(base: Schedule, options: Options) -> Ways:
    """The exits of a model.

    Raises:
        InputError: a model with nothing to leave out.
    """
    full = base.with_loops(options.loops) if options.loops else base
    prefixes = tuple(Schedule(full.layers[:step]) for step in range(1, len(full) + 1))
    if options.exits == "step":
        if len(full) < 3:
            raise InputError(f"schedule {full} runs {len(full)} steps: no exit saves any of them")
        return Ways(prefixes, prefixes)
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
    looks = tuple(prefixes[start + size * count - 1] for count in counts)
    return Ways(exits, looks, full.layers[:start])


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model and task."""
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
        if not ways(model.schedule, options).before and options.rule == "geiping":
            raise InputError(
                f"schedule {model.schedule} begins with its looped block: --rule geiping compares "
                "the first loop with what enters the block, and needs layers before it"
            )
    kept = settled(options, "tasks", "exits")
    return [
        Cell(
            "adaptive-exit", model.name, model.path, {"task": name, "exits": options.exits}, kept
        )
        for model in models
        for name in task_names(options.tasks)
    ]  # fmt: skip


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """Answers and scores at every exit, on validation and test items."""
    model, _ = loaded(cell.path)
    found = ways(current_schedule(model), options)
    lens = the_lens(cell, loaded, options, out, LENS_TOKENS, options.seed)
    looks = found.looks if options.exits == "loop" else ()
    start = (Schedule(found.before),) if options.rule == "geiping" else ()
    sweep = Sweep(model, [*found.exits, *looks, *start])
    rows: list[dict[str, Any]] = []
    scores, asked = {}, []
    for split in SPLITS:
        name = cell.params["task"]
        some = ask(loaded, name, options, split)
        asked.append(some)
        each = [
            _question(sweep, question, len(found.exits), options, lens)
            for question in loaded.each(some.asked, f"{split} questions")
        ]
        right = torch.stack([row for row, _ in each], dim=1)  # (exits, items)
        for number, (schedule, values) in enumerate(zip(found.exits, right, strict=True)):
            rows.append(accuracy_row(values, some, exit=number, steps=len(schedule)))
        scores[split] = {
            name: _rounded(torch.stack([judged[name] for _, judged in each], dim=1))
            for name in CRITERIA
        }
    prices = _prices(model, found, asked, options, lens)
    kind = "logit lens" if lens is None else "tuned lens"
    return {
        "rows": rows,
        "data": {"lens": kind, "scores": scores, "prices": vars(prices)},
    }


def _question(
    sweep: Sweep, question: Question, exits: int, options: Options, lens: Lens | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Whether each exit answers it, ``(exits,)``; what each criterion sees at each exit.

    Under the rule ``ours`` nothing is seen at the first exit: ``(exits - 1,)``.
    """
    found = torch.zeros(exits, len(question.options))
    length = len(question.context)
    judged = slice(length - 1 if options.judged == "answer" else 0, length)
    states: dict[int, Tensor] = {}
    ends: dict[int, Tensor] = {}  # of every schedule, on the context
    for sheet, base, number, state in sweep.ends(question):
        step = len(sweep.schedules[number])
        if number < exits:
            found[number] += option_scores(base, sheet, question, state, step, lens)
        if options.exits == "step" or number >= exits:
            states.setdefault(number % exits, state[judged])
        ends.setdefault(number, state[:length])
    if options.rule == "geiping":
        return found.argmax(1) == question.answer, _published(base, ends, exits)
    logits = [
        exit_logits(base, len(sweep.schedules[number]), states[number], lens)
        for number in range(exits)
    ]
    scores = {}
    for name in CRITERIA:
        seen = [
            exit_signal(name, states[i], lambda _, i=i: logits[i])  # type: ignore[misc]
            for i in range(exits)
        ]
        changes = torch.stack([signal_change(name, *pair) for pair in itertools.pairwise(seen)])
        scores[name] = (_runs(changes).amin(1) if name == "argmax" else changes.amax(1)).cpu()
    return found.argmax(1) == question.answer, scores


def _published(base: Trace, ends: dict[int, Tensor], exits: int) -> dict[str, Tensor]:
    """What Geiping et al.'s criteria see after each loop: criterion to ``(exits,)``.

    Args:
        ends: states on the context ``(tokens, dim)``: what leaves the model at each exit, then the
            state after each loop, then what enters the block.
    """
    entering = ends[2 * exits]
    found = {}
    for name in CRITERIA:
        rule = EarlyExit.geiping(name)
        places = range(exits) if rule.through_coda else range(exits, 2 * exits)
        judged = slice(-1, None) if rule.judged == "last" else slice(None)
        seen = [exit_signal(name, ends[place][judged], base.readout) for place in places]
        seen.insert(0, initial_signal(name, entering[judged], seen[0]))
        changes = torch.stack(
            [signal_change(name, *pair, rule.direction) for pair in itertools.pairwise(seen)]
        )
        found[name] = (_repeats(changes) if name == "argmax" else changes).mean(1).cpu()
    return found


def _repeats(changed: Tensor) -> Tensor:
    """How often in a row each token has stayed the same, ``(looks, tokens)`` as ``changed``."""
    count, found = torch.zeros_like(changed[0]), []
    for row in changed:
        count = torch.where(row == 0, count + 1, torch.zeros_like(count))
        found.append(count)
    return torch.stack(found)


def _runs(changed: Tensor) -> Tensor:
    """For how many looks each token has stayed the same, from the second look on.

    Args:
        changed: 1 where it differs from the look before, ``(looks - 1, tokens)``.
    """
    count = torch.ones_like(changed[0])
    found = []
    for row in changed:
        count = torch.where(row == 0, count + 1, torch.ones_like(count))
        found.append(count)
    return torch.stack(found)


def _rounded(values: Tensor) -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in values.tolist()]


def _prices(
    model: Any, found: Ways, asked: Sequence[Questions], options: Options, lens: Lens | None
) -> Prices:
    """What runs and looks cost, in FLOPs a token."""
    every = [question for some in asked for question in some.asked]
    more = [sum(len(option) - 1 for option in question.options) for question in every]
    contexts = [len(question.context) for question in every]
    tokens = statistics.fmean(a + b for a, b in zip(contexts, more, strict=True))

    def flops(layers: tuple[int, ...]) -> float:
        return cost(model, Schedule(layers), seq_len=max(1, round(tokens))).forward_flops

    first = found.exits[-1].layers[:1]
    head = 2 * flops(first) - flops(first * 2)
    width = 0 if lens is None else lens.shifts.shape[1]
    return Prices(
        layers=[flops(schedule.layers) - head for schedule in found.exits],
        head=head + 2.0 * width * width,
        last=head,
        tokens=tokens,
        read=statistics.fmean(1 + value for value in more),
        judged=1.0 if options.judged == "answer" else statistics.fmean(contexts),
        reused=options.exits == "step",
        coda=flops(found.coda + first) - flops(first) if options.rule == "geiping" else 0.0,
    )


@seeds.over_seeds(
    "task",
    "criterion",
    of="difference",
    means=("steps", "saved", "FLOPs saved", "decoding", "accuracy", "all steps"),
    within=CHANGE,
)
def table(records: Sequence[Record]) -> Table:
    """For each criterion the cheapest threshold on validation, and what it saves on test.

    ``FLOPs saved`` are of a question whose tokens run together, ``decoding`` of generation, where
    every token is looked at; ``a look`` is what that costs, in steps. Without a threshold nothing
    is left out. The difference is paired, to all steps; p is corrected for all criteria and models
    and task (Holm).
    """
    lines: Table = []
    for record in records:
        validation, test = (Exits.of(record, split) for split in SPLITS)
        end, some = test.leaves(FIXED, None), []
        for criterion in (FIXED, *CRITERIA):
            threshold = chosen(validation, criterion)
            leaves = test.leaves(criterion, threshold)
            paid = FIXED if threshold is None else criterion  # who never leaves need not look
            right, steps, prices = test.answers(leaves), test.steps, test.prices
            tested = paired(right.tolist(), test.full.tolist())
            question, token = (
                1 - float(price(leaves, paid).mean() / price(end, FIXED).mean())
                for price in (prices.question, prices.token)
            )
            some.append(
                {
                    "model": record["cell"]["model"],
                    "task": record["rows"][0]["task"],
                    "criterion": criterion,
                    "threshold": threshold,
                    "steps": float(steps[leaves].mean()),
                    "of": int(steps[-1]),
                    "saved": 1 - float(steps[leaves].mean() / steps[-1]),
                    "FLOPs saved": question,
                    "decoding": token,
                    "a look": prices.look_in_steps(criterion, int(steps[-1])),
                    "accuracy": float(right.mean()),
                    "all steps": float(test.full.mean()),
                    "difference": tested.difference,
                    **ends(None if (leaves == end).all() else (tested.low, tested.high)),
                    "p": tested.p,
                    "n": len(right),
                    "chance": record["rows"][0]["chance"],
                }
            )
        lines += some
    return corrected(lines)


STUDY = Study(
    name="adaptive-exit",
    asks="How many steps can a model save by leaving when its prediction has settled?",
    figure="beyond the paper",
    cost="a pass a question of two splits and a head an exit; with --exits loop also what comes "
    "after the block, for each loop",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("exits", "steps"),
)
