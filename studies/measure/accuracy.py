"""Measure the accuracy of schedules on the same questions, as rows of a record."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...core.errors import one_of, whole
from ...core.schedule import Schedule
from ...core.significance import paired
from ...core.statistics import check_items, ends, share_interval
from ...tasks.questions import Questions, check_questions, questions, scorer, task_names
from ..checkpoints import ModelLoader
from ..records import Row

if TYPE_CHECKING:
    from torch import Tensor

    from ...tasks.scoring.scorer import TrieLM

SPLITS = ("validation", "test")


def check_accuracy(names: Sequence[str], items: int, shots: int, seed: int, split: str) -> None:
    """Check tasks and numbers before the slow part.

    Raises:
        InputError: a task is unknown, or a number is out of range.
    """
    one_of("split", split, SPLITS)
    whole("items", items, 1, 10**7)
    check_items(items)
    for name in task_names(names):
        check_questions(name, items, split, seed, shots)


def load_questions(loader: ModelLoader, name: str, options: Any, split: str) -> Questions:
    """Return a task's questions, tokenized for the loaded model; cached with the model.

    Args:
        options: options of a study with ``items``, ``shots``, ``fixed_shots`` and ``seed``.
    """
    names = ("seed", "shots", "fixed_shots")
    kwargs = {"split": split} | {name: getattr(options, name) for name in names}
    key = name, options.items, *kwargs.values()
    if key not in loader.cache:
        loader.cache[key] = questions(load_scorer(loader), name, options.items, **kwargs)
    cached: Questions = loader.cache[key]
    return cached


def load_scorer(loader: ModelLoader) -> TrieLM:
    """Return the scorer of the loaded model; cached with the model."""
    if (None,) not in loader.cache:
        loader.cache[(None,)] = scorer(loader.model, loader.tokenizer)
    cached: TrieLM = loader.cache[(None,)]
    return cached


def item_correctness(
    loader: ModelLoader, task_questions: Questions, schedules: Sequence[Schedule]
) -> Tensor:
    """Per-item correctness of the loaded model: ``(schedules, items)``, bool."""
    return item_correctness_per_task(loader, [task_questions], schedules)[0]


def item_correctness_per_task(
    loader: ModelLoader, tasks: Sequence[Questions], schedules: Sequence[Schedule]
) -> list[Tensor]:
    """Per-item correctness of several tasks, scored in one pass.

    Replaces the layers of the loaded model by looped layers that run its own schedule.

    Returns:
        per task ``(schedules, items)``, bool.
    """
    import torch

    from ...models import loop
    from ...models.looping.decoder import find_layers

    lm = load_scorer(loader)
    loop(lm.model)
    for schedule in schedules:
        schedule.check_fits(len(find_layers(lm.model).unique))
    all_questions = [question for task in tasks for question in task.questions]
    pairs = [(q.context, option) for q in all_questions for option in q.options]
    scores = [iter(row) for row in lm.score_schedules(pairs, schedules, not loader.bars)]
    correct = torch.tensor(
        [[_best(row, len(q.options)) == q.answer for q in all_questions] for row in scores]
    )
    return list(torch.split(correct, [len(task.questions) for task in tasks], dim=1))


def _best(scores: Iterator[tuple[float, bool]], count: int) -> int:
    """Return the index of the most probable of the next ``count`` options."""
    values = [next(scores)[0] for _ in range(count)]
    return values.index(max(values))


def accuracy_row(correct: Tensor, task_questions: Questions, **more: Any) -> Row:
    """Return a row: accuracy, its 95 % interval over items, and per-item correctness.

    Args:
        correct: per-item correctness, ``(items,)``, bool.
        more: further columns.
    """
    values = [float(value) for value in correct]
    mean = statistics.fmean(values)
    return Row.make(
        **task_questions.about,
        metric="acc",
        value=mean,
        stderr=(mean * (1 - mean) / (len(values) - 1)) ** 0.5,
        **ends(share_interval(mean, len(values))),
        answers="".join(str(int(value)) for value in correct),
        **more,
    )


def with_difference(row: Row, plain: Row) -> Row:
    """Add a row's difference to another on the same items: difference, interval, McNemar's p."""
    test = paired(row.correct, plain.correct)
    return row.replace(
        difference=test.difference,
        # a schedule is exactly as good as itself
        **ends(None if row is plain else (test.low, test.high), "difference_"),
        better=test.better,
        worse=test.worse,
        p=test.p,
    )
