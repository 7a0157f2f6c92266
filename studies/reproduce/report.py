"""What the records of a quick start show, in plain words; every number and word is computed.

A difference is called one only where its 95 % interval, over questions, leaves 0 out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...core.statistics import SHARE, Interval, share_interval, sum_interval
from ...leaderboard import Record

SUITE = "reasoning_primitives"
COLUMNS = {"copying": "copying_*", "VA depth 0": "variable_assignment_*_d0"}


@dataclass(frozen=True)
class Standing:
    """A model, what it costs, and how it scores.

    Args:
        name: of its run.
        family: as in its record.
        kind: in words, e.g. ``Loop(3x2)``.
        layers: unique ones and those that run.
        parameters: unique ones.
        training_flops: spent on it.
        score: mean over the suite, and its standard error and chance level.
        columns: mean of each group of tasks.
    """

    name: str
    family: str
    kind: str
    layers: tuple[int, int]
    parameters: int
    training_flops: float
    score: float
    stderr: float
    n: int
    chance: float
    columns: dict[str, float]


def standings(records: Sequence[Record]) -> list[Standing]:
    """A line for each model, in the order of their names' first records."""
    found = []
    scored = [r for r in records if r.study is None and r.schedule is None]
    for suite in (r for r in scored if r.task.name == SUITE):
        model = suite.model
        own = [r for r in scored if r.model == model]
        values = {
            column: [r.value for r in own if fnmatchcase(r.task.name, pattern)]
            for column, pattern in COLUMNS.items()
        }
        found.append(
            Standing(
                model.name,
                model.family,
                kind_of(suite),
                (model.unique_layers or 0, model.effective_layers or 0),
                suite.cost.unique_parameters or 0,
                model.training_flops or 0.0,
                suite.value,
                suite.stderr or 0.0,
                suite.n or 0,
                suite.task.chance or 0.0,
                {column: statistics.fmean(v) for column, v in values.items() if v},
            )
        )
    order = {"standard": 0, "looped": 1, "grown": 2}
    return sorted(found, key=lambda line: (order.get(line.family, 3), line.layers, line.name))


def kind_of(record: Record) -> str:
    """What a model is, as the paper calls it."""
    model = record.model
    if model.growth:
        return model.growth[-1].operator.upper()
    if model.family == "looped":
        return f"Loop({model.schedule})"
    return f"Standard {model.effective_layers}"


def best(lines: Sequence[Standing]) -> Standing:
    """The one with the highest score, of equal ones the cheapest."""
    return max(lines, key=lambda line: (line.score, -line.parameters, -line.training_flops))


def told(records: Sequence[Record], begun: Mapping[str, int] | None = None) -> list[str]:
    """What there is to see, a sentence each.

    Args:
        begun: by model the step at which it had learned the first lesson; not there if never.
    """
    lines = standings(records)
    return [
        _the_best(best(lines)),
        *_against_standard(lines),
        *([] if begun is None else [_lessons(lines, begun)]),
        *_repeats(records),
        *_late_layers(records),
        "One training of each model, and a short one: the intervals are over questions and say "
        "nothing of other seeds.",
    ]


def _lessons(lines: Sequence[Standing], begun: Mapping[str, int]) -> str:
    known = sorted((begun[line.name], line.kind) for line in lines if line.name in begun)
    never = [line.kind for line in lines if line.name not in begun]
    parts = [f"{kind} after {step:,} steps" for step, kind in known]
    parts += [f"{kind} not at all" for kind in never]
    return (
        "Lessons like the questions come once random repeats are learned, whoever is late has "
        f"less time for them: {', '.join(parts)}."
    )


def _the_best(line: Standing) -> str:
    low, high = _interval(line)
    found = (
        f"{line.kind} scores highest: {_share(line.score)} of {line.n:,} questions right (95 % "
        f"interval {_share(low)} to {_share(high)}) where guessing gives {_share(line.chance)}"
    )
    if low > line.chance:
        return found + "."
    return found + ", which is not clearly better than guessing."


def _against_standard(lines: Sequence[Standing]) -> list[str]:
    standard = [line for line in lines if line.family == "standard"]
    if len(standard) != 1:
        return []
    [base] = standard
    found = []
    for line in lines:
        if line is base:
            continue
        costs = []
        if line.parameters != base.parameters:
            costs.append(f"{_share(line.parameters / base.parameters)} of the parameters")
        if abs(line.training_flops - base.training_flops) > 0.05 * base.training_flops:
            costs.append(f"{_share(line.training_flops / base.training_flops)} of the FLOPs")
        cheaper = f" (with {' and '.join(costs)})" if costs else ""
        change = _change((base.score, _interval(base)), (line.score, _interval(line)))
        found.append(f"{line.kind} against {base.kind}{cheaper}: {change}.")
    return found


def _interval(line: Standing) -> Interval:
    return share_interval(line.score, line.n, line.stderr) or SHARE


def _change(before: tuple[float, Interval], after: tuple[float, Interval]) -> str:
    """A difference of independent shares, each with its interval."""
    low, high = (100 * end for end in sum_interval([(1, *after), (-1, *before)]))
    difference = 100 * (after[0] - before[0])
    interval = f"95 % interval {low:+.1f} to {high:+.1f} points"
    if low <= 0 <= high:
        return f"no clear difference ({interval})"
    return f"{abs(difference):.1f} points {'better' if difference > 0 else 'worse'} ({interval})"


def _repeats(records: Sequence[Record]) -> list[str]:
    rows = [r for r in records if r.study == "inference-scaling"]
    plain = {(r.model.name, r.task.key): r for r in rows if r.conditions["times"] == 0}
    found = []
    for after in rows:
        before = plain.get((after.model.name, after.task.key))
        if before is None or after.conditions["times"] != 1:
            continue
        sides = [
            (r.value, share_interval(r.value, r.n, r.stderr) or SHARE) for r in (before, after)
        ]
        first, stop = str(after.conditions["block"]).split(":")
        found.append(
            f"Steps {first} to {int(stop) - 1} of {kind_of(after)} run once more, without "
            f"training, on {after.n} questions of {after.task.name}: "
            f"{_share(before.value)} right before, {_share(after.value)} after; "
            f"{_change(sides[0], sides[1])}."
        )
    return found


def _late_layers(records: Sequence[Record]) -> list[str]:
    rows = [r for r in records if r.study == "depth" and r.task.metric == "depth_score"]
    if not rows:
        return []
    rows = sorted(rows, key=lambda r: -r.value)
    listed = ", ".join(f"{kind_of(r)} {r.value:.2f}" for r in rows)
    return [
        f"How late the layers that matter are (depth score; 0 the first, 1 the last, "
        f"{rows[0].task.chance:g} if all matter alike): {listed}."
    ]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"
