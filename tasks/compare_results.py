"""Paired comparison of two evaluations, question by question.

Reads result files of ``growloop eval`` and of lm-eval (``results_*.json`` with the
``samples_*.jsonl`` beside it). Questions are matched by the hash of their document, so models may
have answered them in any order, from prompts of different lengths, and not all the same ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import InputError, one_of
from ..core.significance import paired_interval, paired_p
from ..core.strict_json import line_value, read_object

RESULTS, SAMPLES = "results_", "samples_"
TOLERANCE = 1e-6  # between a reported mean and the mean of its samples
Question = tuple[str, int]
"""Hash of a document, and its occurrence among equal ones."""


@dataclass(frozen=True)
class Answers:
    """Per-item scores of one metric of one task.

    Args:
        values: question (hash of its document, occurrence among equal ones) -> score.
        prompts: question -> hash of its prompt.
    """

    values: Mapping[Question, float]
    prompts: Mapping[Question, str]


@dataclass(frozen=True)
class Evaluation:
    """Finished evaluation, read from its files.

    Args:
        name: name of the model, with its schedule if it was looped for the evaluation.
        answers: (task, metric) -> per-item scores.
        reported: (task or group, metric) -> value in the result file.
        groups: group -> its tasks.
        shots: task -> number of examples in the prompt.
        left_out: reasons why metrics have no per-item scores.
    """

    name: str
    answers: Mapping[tuple[str, str], Answers]
    reported: Mapping[tuple[str, str], float]
    groups: Mapping[str, Sequence[str]]
    shots: Mapping[str, int]
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class TaskDifference:
    """First minus second evaluation on the questions that both answered.

    Args:
        task: task, or group: the mean over its tasks, each with equal weight.
        level: 0, or 1 for a member of the group above.
        n: number of questions that both answered.
        first, second: mean scores on these questions.
        low, high: 95 % interval of the difference over questions; None for a single question.
        p: two-sided p-value of the sign-flip test (McNemar's exact test for right or wrong).
    """

    task: str
    level: int
    metric: str
    n: int
    first: float
    second: float
    low: float | None
    high: float | None
    p: float

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side.

    Args:
        first, second: names of the models.
        rows: groups first, each followed by its tasks.
        notes: remarks on what was left out or differs.
    """

    first: str
    second: str
    rows: tuple[TaskDifference, ...]
    notes: tuple[str, ...] = field(default=())


def compare_results(
    first: str | Path | Evaluation, second: str | Path | Evaluation, tasks: Sequence[str] = ()
) -> Comparison:
    """Compare two evaluations on the questions that both answered.

    Args:
        first, second: result files, folders with the results of one model, or evaluations.
        tasks: tasks or groups to compare; by default all that both have.

    Raises:
        InputError: no results or samples, results of several models in a folder, no task or
            question in common, an unknown task.

    Example::

        for row in compare_results("results/looped", "results/standard").rows:
            print(row.task, row.difference, row.low, row.high, row.p)
    """
    one, other = (
        place if isinstance(place, Evaluation) else read_evaluation(place)
        for place in (first, second)
    )
    first, second = (
        place.name if isinstance(place, Evaluation) else place for place in (first, second)
    )
    shared = [key for key in one.answers if key in other.answers]
    groups = {name: members for name, members in one.groups.items() if name in other.groups}
    known = list(dict.fromkeys([*groups, *(task for task, _ in shared)]))
    if not known:
        raise InputError(f"{first} and {second} have no task and metric in common")
    for task in tasks:
        one_of("task of both", task, known)
    notes = [
        f"{name}: {note}" for ev, name in ((one, first), (other, second)) for note in ev.left_out
    ]
    rows: list[TaskDifference] = []
    for task, level in _order(known, groups, tasks):
        for metric in dict.fromkeys(metric for _, metric in shared):
            if level < 0:
                rows += _group(task, groups[task], metric, one, other)
            elif (task, metric) in shared:
                rows.append(_task(task, level, metric, one, other))
    if not rows:
        raise InputError(f"{first} and {second} have no question in common")
    notes += _prompt_notes([row.task for row in rows], one, other)
    return Comparison(one.name, other.name, tuple(rows), tuple(dict.fromkeys(notes)))


def _order(
    known: Sequence[str], groups: Mapping[str, Sequence[str]], tasks: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Yield (task, level) in the order of the table; a group has level -1."""
    members = {task for group in groups.values() for task in group}
    for name in known:
        if name in groups:
            chosen = [task for task in groups[name] if not tasks or name in tasks or task in tasks]
            if not tasks or name in tasks:
                yield name, -1
            yield from ((task, 1) for task in chosen)
        elif name not in members and (not tasks or name in tasks):
            yield name, 0


def _task(task: str, level: int, metric: str, one: Evaluation, other: Evaluation) -> TaskDifference:
    return _difference(task, level, metric, [_pairs(task, metric, one, other)])


def _group(
    name: str, members: Sequence[str], metric: str, one: Evaluation, other: Evaluation
) -> list[TaskDifference]:
    """Compare the means over the tasks of a group; nothing if it is not such a mean in both."""
    keys = [(task, metric) for task in members]
    if not all(key in one.answers and key in other.answers for key in keys):
        return []
    for evaluation in (one, other):
        mean = statistics.fmean(evaluation.reported[key] for key in keys)
        if not _equal(mean, evaluation.reported.get((name, metric), math.nan)):
            return []
    return [_difference(name, 0, metric, [_pairs(task, metric, one, other) for task in members])]


def _difference(
    name: str, level: int, metric: str, tasks: Sequence[Sequence[tuple[float, float]]]
) -> TaskDifference:
    """Compare the means over tasks, each with equal weight.

    Args:
        tasks: per task the scores of both models on each question.
    """
    changes = [[a - b for a, b in pairs] for pairs in tasks]
    bounded = all(0 <= value <= 1 for pairs in tasks for pair in pairs for value in pair)
    low, high = paired_interval(changes, bounded) or (None, None)
    first, second = (
        statistics.fmean(statistics.fmean(pair[side] for pair in pairs) for pairs in tasks)
        for side in (0, 1)
    )
    n = sum(map(len, tasks))
    return TaskDifference(name, level, metric, n, first, second, low, high, paired_p(changes))


def _pairs(task: str, metric: str, one: Evaluation, other: Evaluation) -> list[tuple[float, float]]:
    """Return the scores of both models on each question that both answered."""
    mine, theirs = one.answers[task, metric].values, other.answers[task, metric].values
    pairs = [(value, theirs[question]) for question, value in mine.items() if question in theirs]
    if not pairs:
        raise InputError(f"{task}: {one.name} and {other.name} answered different questions")
    return pairs


def _prompt_notes(tasks: Sequence[str], one: Evaluation, other: Evaluation) -> Iterator[str]:
    """Yield notes on tasks whose prompts differ, or whose questions not both answered."""
    for (task, metric), mine in one.answers.items():
        theirs = other.answers.get((task, metric))
        if theirs is None or task not in tasks:
            continue
        shared = [question for question in mine.values if question in theirs.values]
        every = len({*mine.values, *theirs.values})
        if len(shared) < every:
            yield f"{task}: {len(shared)} of {every} questions were answered by both"
        if any(mine.prompts[q] != theirs.prompts[q] for q in shared):
            shots = [evaluation.shots.get(task) for evaluation in (one, other)]
            why = "" if shots[0] == shots[1] else f" ({shots[0]} and {shots[1]} examples)"
            yield f"{task}: the same questions in different prompts{why}"


def read_evaluation(path: str | Path) -> Evaluation:
    """Read a finished evaluation.

    Args:
        path: result file, or a folder with the results of one model; several files of one folder
            must be of different tasks.

    Raises:
        InputError: no or damaged results, no samples, results of several models, a task twice.
    """
    files = _result_files(Path(path))
    parts = [_read(file) for file in files]
    names = list(dict.fromkeys(part.name for part in parts))
    if len(names) > 1:
        raise InputError(
            f"{path} holds results of several models: {', '.join(names)}: name one file"
        )
    seen: dict[str, Path] = {}
    for file, part in zip(files, parts, strict=True):
        for task in dict.fromkeys(task for task, _ in part.answers):
            if task in seen:
                raise InputError(f"{path} holds {task} twice, in {seen[task].name} and {file.name}")
            seen[task] = file
    if not seen:
        reasons = "; ".join(dict.fromkeys(note for part in parts for note in part.left_out))
        raise InputError(f"{path} has no per-item scores" + (f": {reasons}" if reasons else ""))
    return Evaluation(
        names[0],
        {key: value for part in parts for key, value in part.answers.items()},
        {key: value for part in parts for key, value in part.reported.items()},
        {key: value for part in parts for key, value in part.groups.items()},
        {key: value for part in parts for key, value in part.shots.items()},
        [note for part in parts for note in part.left_out],
    )


def _result_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise InputError(f"{path} does not exist")
    files = sorted(path.rglob(f"{RESULTS}*.json"))
    if not files:
        raise InputError(f"{path} holds no result file ({RESULTS}*.json) of an evaluation")
    return files


def _read(file: Path) -> Evaluation:
    """Read one result file with its samples."""
    fields = read_object(file, results=dict)
    stamp = file.name.removeprefix(RESULTS).removesuffix(".json")

    def samples(task: str) -> Iterator[Mapping[str, Any]] | str:
        place = file.with_name(f"{SAMPLES}{task}_{stamp}.jsonl")
        return _lines(place) if place.is_file() else place.name

    return evaluation_of(fields, samples, file.parent.name)


def evaluation_of(
    fields: Mapping[str, Any],
    samples: Callable[[str], Iterable[Mapping[str, Any]] | str],
    name: str = "model",
) -> Evaluation:
    """Collect the per-item scores of lm-eval's results.

    A metric whose reported value is not the mean of its per-item scores is left out.

    Args:
        fields: lm-eval's results.
        samples: function from a task to its samples, or to the name of what is missing.
        name: name of the model, where the results have none.

    Raises:
        InputError: a sample is damaged.
    """
    shots = {task: n for task, n in (fields.get("n-shot") or {}).items() if isinstance(n, int)}
    reported = {
        (task, metric): float(value)
        for task, values in fields["results"].items()
        if isinstance(values, dict)
        for metric, value in values.items()
        if isinstance(value, (int, float)) and "," in metric and "_stderr," not in metric
    }
    answers: dict[tuple[str, str], Answers] = {}
    left_out: list[str] = []
    groups = {name: tasks for name, tasks in (fields.get("group_subtasks") or {}).items() if tasks}
    for task in dict.fromkeys(task for task, _ in reported if task not in groups):
        of_task = samples(task)
        if isinstance(of_task, str):
            left_out.append(f"{task} has no samples ({of_task})")
            continue
        metrics = [metric for name, metric in reported if name == task]
        if _is_primitive(fields, task):  # as in the table of growloop eval
            metrics = [metric for metric in metrics if metric.startswith("acc,")]
        for metric, found in _answers(of_task, metrics).items():
            mean = statistics.fmean(found.values.values()) if found.values else math.nan
            if _equal(mean, reported[task, metric]):
                answers[task, metric] = found
            else:
                left_out.append(f"{task}: {metric} is not a mean over questions")
    return Evaluation(_name(fields, name), answers, reported, groups, shots, left_out)


def _is_primitive(fields: Mapping[str, Any], task: str) -> bool:
    config = (fields.get("configs") or {}).get(task) or {}
    metadata = config.get("metadata") or {}
    return "chance" in (metadata.get("growloop") or {})


def _name(fields: Mapping[str, Any], otherwise: str) -> str:
    ours = fields.get("growloop") or {}
    name = (ours.get("model") or {}).get("name") if isinstance(ours.get("model"), dict) else None
    name = name or fields.get("model_name") or otherwise
    schedule = str(ours.get("schedule") or "")
    return f"{name}, schedule {schedule}" if schedule.strip("0123456789") else str(name)


def _lines(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the samples of a file.

    Raises:
        InputError: a line is not a sample.
    """
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            sample = line_value(line, number == 1)
            _ = sample["filter"], sample["doc_hash"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}, line {number}: no sample of an evaluation") from error
        yield sample


def _answers(samples: Iterable[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Answers]:
    """Collect the per-item scores of samples: metric with its filter -> scores."""
    values: dict[str, dict[Question, float]] = {metric: {} for metric in metrics}
    prompts: dict[str, dict[Question, str]] = {metric: {} for metric in metrics}
    seen: dict[tuple[str, str], int] = {}
    for sample in samples:
        kind, document = sample["filter"], str(sample["doc_hash"])
        occurrence = seen.get((kind, document), 0)
        seen[kind, document] = occurrence + 1
        for metric in metrics:
            name, _, of_filter = metric.partition(",")
            value = sample.get(name)
            if of_filter == kind and isinstance(value, (bool, int, float)):
                values[metric][document, occurrence] = float(value)
                prompts[metric][document, occurrence] = str(sample.get("prompt_hash"))
    return {metric: Answers(values[metric], prompts[metric]) for metric in metrics}


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))
