"""Summarize a quick start: a row per model, and what was done, what it means, what to run next.

Differences are over the questions that both models answered, with their 95 % interval. One is
called better or worse only if its interval excludes 0.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ...core.statistics import SHARE, Interval, share_interval
from ...leaderboard import Record
from ...leaderboard.site.introduction import NextCommand
from ...tasks.compare_results import TaskDifference

SUITE = "reasoning_primitives"
COLUMNS = {"copying": "copying_*", "VA": "variable_assignment_*_d0"}  # title -> tasks
COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six")
FAMILY_ORDER = {"standard": 0, "looped": 1, "grown": 2}
CAVEAT = (
    "The intervals are over questions and say nothing about other seeds: the first command below "
    "trains the same models from another one."
)

Compare = Callable[[str, str], TaskDifference]
"""Names of two models -> difference of their suite scores, first minus second."""


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
    """Return a summary per model: standard, looped, grown, each from many to few layers."""
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
    return sorted(summaries, key=lambda s: (FAMILY_ORDER.get(s.family, 3), -s.layers[0], s.name))


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


def describe_runs(summaries: Sequence[ModelSummary], steps: int, seed: int) -> str:
    """Return one sentence on what was done.

    Args:
        summaries: models of one quick start; all answered the same questions.
        steps: optimizer steps of each run.
        seed: seed of the runs.
    """
    first = summaries[0]
    return (
        f"{COUNTS[len(summaries)]} small models were trained on generated lessons for {steps:,} "
        f"steps each (seed {seed}) and answered {first.n:,} questions on copying and variable "
        f"assignment (VA) in wordings that no lesson has; guessing gives {_percent(first.chance)}."
    )


def findings(
    summaries: Sequence[ModelSummary],
    compare: Compare,
    learned: Mapping[str, int | None] | None = None,
) -> list[str]:
    """Return what the scores mean, one sentence each.

    A looped or grown model is compared with the deepest standard model, a looped one also with a
    standard model of its own number of unique layers.

    Args:
        compare: comparison of two models by name.
        learned: model name -> step at which the first lesson was learned; None if never.
    """
    standard = [s for s in summaries if s.family == "standard"]
    learned = learned or {}
    unfinished = [name for name, step in learned.items() if step is None]
    sentences = [*_guessing(summaries), *_unfinished(summaries, unfinished)]
    if standard:
        base = standard[0]
        for model in (s for s in summaries if s.family == "looped"):
            sentences.append(_parameters_sentence(model, base, compare))
            for control in standard[1:]:
                if control.layers[0] == model.layers[0]:
                    sentences.append(_control_sentence(model, control, compare))
        for model in (s for s in summaries if s.family == "grown"):
            sentences.append(_flops_sentence(model, base, compare))
    return [*sentences, *_learning(summaries, learned), CAVEAT]


def _learning(summaries: Sequence[ModelSummary], learned: Mapping[str, int | None]) -> list[str]:
    """Return when each model learned the first lesson, and whether its loop made it sooner."""
    steps = {s.name: step for s in summaries if (step := learned.get(s.name)) is not None}
    if not steps:
        return []
    kinds = {s.name: s.kind for s in summaries}
    listed = ", ".join(f"{kinds[name]} at step {step:,}" for name, step in steps.items())
    sentence = f"Learning: the first lesson (random repeats) was learned by {listed}."
    for model in (s for s in summaries if s.family == "looped" and s.name in steps):
        for control in (s for s in summaries if s.family == "standard" and s.name in steps):
            if control.layers[0] == model.layers[0]:
                sooner = steps[control.name] - steps[model.name]
                word = "sooner" if sooner >= 0 else "later"
                sentence += (
                    f" With the loop the same number of layers learned it {abs(sooner):,} steps "
                    f"{word}."
                )
    return [sentence]


def _guessing(summaries: Sequence[ModelSummary]) -> list[str]:
    best = best_model(summaries)
    if _interval(best)[0] > best.chance:
        return []
    return [
        f"No model is clearly better than guessing: the best, {best.kind}, answers "
        f"{_percent(best.score)} right. The differences below say nothing yet."
    ]


def _unfinished(summaries: Sequence[ModelSummary], names: Sequence[str]) -> list[str]:
    kinds = [s.kind for s in summaries if s.name in names]
    if not kinds:
        return []
    return [
        f"Never past the first lesson (random repeats), so without any lesson like the questions: "
        f"{', '.join(kinds)}."
    ]


def _parameters_sentence(model: ModelSummary, base: ModelSummary, compare: Compare) -> str:
    return (
        f"Looping: with {_percent(model.parameters / base.parameters)} of the parameters of "
        f"{base.kind}, {model.kind} answers {_percent(model.score)} right and {base.kind} "
        f"answers {_percent(base.score)}: {_change(compare(model.name, base.name))}."
    )


def _control_sentence(model: ModelSummary, control: ModelSummary, compare: Compare) -> str:
    difference = compare(model.name, control.name)
    sentence = (
        f"Control: {control.kind} has as many layers as {model.kind}, run once, and answers "
        f"{_percent(control.score)} right; {model.kind} is "
        f"{_change(difference, 'not clearly different')}"
    )
    if difference.low is None or difference.low > 0:
        return f"{sentence}."
    return f"{sentence}, so this run does not show that the loop is needed."


def _flops_sentence(model: ModelSummary, base: ModelSummary, compare: Compare) -> str:
    return (
        f"Growing: with {_percent(model.training_flops / base.training_flops)} of the training "
        f"FLOPs of {base.kind}, {model.kind} answers {_percent(model.score)} right and "
        f"{base.kind} answers {_percent(base.score)}: {_change(compare(model.name, base.name))}."
    )


def _interval(model: ModelSummary) -> Interval:
    return share_interval(model.score, model.n, model.stderr) or SHARE


def _change(difference: TaskDifference, equal: str = "no clear difference") -> str:
    """Describe a difference of shares with its interval.

    Args:
        equal: words for a difference whose interval includes 0.
    """
    if difference.low is None or difference.high is None:
        return f"{100 * difference.difference:+.1f} points, without an interval"
    low, high = 100 * difference.low, 100 * difference.high
    interval = f"95 % interval {low:+.1f} to {high:+.1f} points"
    if low <= 0 <= high:
        return f"{equal} ({interval})"
    word = "better" if difference.difference > 0 else "worse"
    return f"{abs(100 * difference.difference):.1f} points {word} ({interval})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def next_commands(
    out: Path, seed: int, fast: bool, results: Sequence[Path], checkpoint: Path
) -> list[NextCommand]:
    """Return three commands to run after a quick start, as a shell takes them.

    Args:
        out: folder of the quick start.
        seed: its seed.
        fast: whether it was ``--fast``.
        results: result folders of two models to compare.
        checkpoint: model to loop without training.
    """
    name = str(out).removesuffix(f"-seed-{seed}")
    again = ["growloop", "quickstart", *(["--fast"] if fast else []), "--seed", str(seed + 1)]
    first, second = (shlex.quote(str(path)) for path in results)
    model = shlex.quote(str(checkpoint))
    return [
        NextCommand(
            "The same with another seed", shlex.join([*again, "--out", f"{name}-seed-{seed + 1}"])
        ),
        NextCommand(
            "Two of the models, question by question", f"growloop compare {first} \\\n  {second}"
        ),
        NextCommand(
            "Loop a trained model: its layers 2 and 3 once, twice, three times",
            f"growloop eval -m {model} \\\n  --block 2:4 --repeats 0,1,2 --shots 0 --items 100",
        ),
    ]
