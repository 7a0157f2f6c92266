"""Summarize the records of a quick start: a row per model, and findings as plain sentences.

A difference is reported only if its 95 % interval over questions excludes 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...core.statistics import SHARE, Interval, share_interval, sum_interval
from ...leaderboard import Record

SUITE = "reasoning_primitives"
COLUMNS = {"copying": "copying_*", "VA depth 0": "variable_assignment_*_d0"}  # title -> tasks
FAMILY_ORDER = {"standard": 0, "looped": 1, "grown": 2}


@dataclass(frozen=True)
class ModelSummary:
    """Cost and score of a model; the fields are those of ``growloop quickstart --json``.

    Args:
        name: name of the run.
        family: model family, as in the record.
        kind: architecture in the paper's notation, e.g. ``Loop(3x2)``.
        layers: number of unique layers, and of layers that run.
        parameters: number of unique parameters.
        training_flops: FLOPs of the training run.
        score, stderr, n, chance: mean accuracy over the suite, its standard error, number of
            questions, and chance level.
        columns: title -> mean accuracy of a group of tasks.
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


def summarize_models(records: Sequence[Record]) -> list[ModelSummary]:
    """Return a summary per model: standard, looped, grown, each from few to many layers."""
    summaries = []
    evaluations = [r for r in records if r.study is None and r.schedule is None]
    for suite in (r for r in evaluations if r.task.name == SUITE):
        model = suite.model
        same_model = [r for r in evaluations if r.model == model]
        values = {
            column: [r.value for r in same_model if fnmatchcase(r.task.name, pattern)]
            for column, pattern in COLUMNS.items()
        }
        summaries.append(
            ModelSummary(
                model.name,
                model.family,
                architecture_name(suite),
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
    return sorted(summaries, key=lambda s: (FAMILY_ORDER.get(s.family, 3), s.layers, s.name))


def architecture_name(record: Record) -> str:
    """Return the paper's name for a model's architecture: LIDAS, ``Loop(3x2)``, Standard 6."""
    model = record.model
    if model.growth:
        return model.growth[-1].operator.upper()
    if model.family == "looped":
        return f"Loop({model.schedule})"
    return f"Standard {model.effective_layers}"


def best_model(summaries: Sequence[ModelSummary]) -> ModelSummary:
    """Return the model with the highest score; among equal scores the cheapest."""
    return max(summaries, key=lambda s: (s.score, -s.parameters, -s.training_flops))


def summary_sentences(
    records: Sequence[Record], second_stage: Mapping[str, int] | None = None
) -> list[str]:
    """Return the findings of a quick start, one sentence each.

    Args:
        second_stage: model -> step at which it had learned the first lesson; without models that
            never did.
    """
    summaries = summarize_models(records)
    return [
        _best_sentence(best_model(summaries)),
        *_difference_sentences(summaries),
        *([] if second_stage is None else [_lesson_sentence(summaries, second_stage)]),
        *_repeat_sentences(records),
        *_depth_score_sentences(records),
        "One training of each model, and a short one: the intervals are over questions and say "
        "nothing of other seeds.",
    ]


def _lesson_sentence(summaries: Sequence[ModelSummary], second_stage: Mapping[str, int]) -> str:
    learned = sorted((second_stage[s.name], s.kind) for s in summaries if s.name in second_stage)
    never = [s.kind for s in summaries if s.name not in second_stage]
    parts = [f"{kind} after {step:,} steps" for step, kind in learned]
    parts += [f"{kind} not at all" for kind in never]
    return (
        "Lessons like the questions start once a model has learned random repeats; a late start "
        f"leaves less time for them: {', '.join(parts)}."
    )


def _best_sentence(model: ModelSummary) -> str:
    low, high = _interval(model)
    sentence = (
        f"{model.kind} scores highest: {_percent(model.score)} of {model.n:,} questions right "
        f"(95 % interval {_percent(low)} to {_percent(high)}) where guessing gives "
        f"{_percent(model.chance)}"
    )
    if low > model.chance:
        return sentence + "."
    return sentence + ", which is not clearly better than guessing."


def _difference_sentences(summaries: Sequence[ModelSummary]) -> list[str]:
    """Compare each model with the standard one; empty unless there is exactly one."""
    standard = [summary for summary in summaries if summary.family == "standard"]
    if len(standard) != 1:
        return []
    [base] = standard
    sentences = []
    for model in summaries:
        if model is base:
            continue
        costs = []
        if model.parameters != base.parameters:
            costs.append(f"{_percent(model.parameters / base.parameters)} of the parameters")
        if abs(model.training_flops - base.training_flops) > 0.05 * base.training_flops:
            costs.append(f"{_percent(model.training_flops / base.training_flops)} of the FLOPs")
        cost = f" (with {' and '.join(costs)})" if costs else ""
        change = _change((base.score, _interval(base)), (model.score, _interval(model)))
        sentences.append(f"{model.kind} against {base.kind}{cost}: {change}.")
    return sentences


def _interval(model: ModelSummary) -> Interval:
    return share_interval(model.score, model.n, model.stderr) or SHARE


def _change(before: tuple[float, Interval], after: tuple[float, Interval]) -> str:
    """Describe the difference of two independent shares, each with its interval."""
    low, high = (100 * end for end in sum_interval([(1, *after), (-1, *before)]))
    difference = 100 * (after[0] - before[0])
    interval = f"95 % interval {low:+.1f} to {high:+.1f} points"
    if low <= 0 <= high:
        return f"no clear difference ({interval})"
    return f"{abs(difference):.1f} points {'better' if difference > 0 else 'worse'} ({interval})"


def _repeat_sentences(records: Sequence[Record]) -> list[str]:
    rows = [r for r in records if r.study == "inference-scaling"]
    baselines = {(r.model.name, r.task.key): r for r in rows if r.conditions["times"] == 0}
    sentences = []
    for after in rows:
        before = baselines.get((after.model.name, after.task.key))
        if before is None or after.conditions["times"] != 1:
            continue
        sides = [
            (r.value, share_interval(r.value, r.n, r.stderr) or SHARE) for r in (before, after)
        ]
        first, stop = str(after.conditions["block"]).split(":")
        sentences.append(
            f"Steps {first} to {int(stop) - 1} of {architecture_name(after)} run once more, "
            f"without training, on {after.n} questions of {after.task.name}: "
            f"{_percent(before.value)} right before, {_percent(after.value)} after; "
            f"{_change(sides[0], sides[1])}."
        )
    return sentences


def _depth_score_sentences(records: Sequence[Record]) -> list[str]:
    rows = [r for r in records if r.study == "depth" and r.task.metric == "depth_score"]
    if not rows:
        return []
    rows = sorted(rows, key=lambda r: -r.value)
    scores = ", ".join(f"{architecture_name(r)} {r.value:.2f}" for r in rows)
    return [
        f"How late the layers that matter are (depth score; 0 the first, 1 the last, "
        f"{rows[0].task.chance:g} if all matter alike): {scores}."
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"
