"""Accuracies of schedules on the same questions, as rows of a record."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...core.errors import one_of, whole
from ...core.significance import paired
from ...core.statistics import check_items, ends, share_interval
from ...models import Schedule, loop
from ...tasks.questions import Questions, check_questions, questions, scorer, task_names
from ..checkpoints import ModelLoader
from ..records import Row

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM

SPLITS = ("validation", "test")


def check_accuracy(names: Sequence[str], items: int, shots: int, seed: int, split: str) -> None:
    """Refuse tasks and numbers of items that cannot be scored, before the slow part."""
    one_of("split", split, SPLITS)
    whole("items", items, 1, 10**7)
    check_items(items)
    for name in task_names(names):
        check_questions(name, items, split, seed, shots)


def ask(loader: ModelLoader, name: str, options: Any, split: str) -> Questions:
    """The questions of a task for the model in memory; made once.

    Args:
        options: of a study: its ``items``, ``shots``, ``fixed_shots`` and ``seed``.
    """
    names = ("seed", "shots", "fixed_shots")
    given = {"split": split} | {name: getattr(options, name) for name in names}
    key = name, options.items, *given.values()
    if key not in loader.cache:
        loader.cache[key] = questions(scorer_of(loader), name, options.items, **given)
    found: Questions = loader.cache[key]
    return found


def scorer_of(loader: ModelLoader) -> TrieLM:
    """What scores the model in memory; made once."""
    if (None,) not in loader.cache:
        loader.cache[(None,)] = scorer(loader.model, loader.tokenizer)
    found: TrieLM = loader.cache[(None,)]
    return found


def right_answers(loader: ModelLoader, asked: Questions, schedules: Sequence[Schedule]) -> Tensor:
    """Whether the model in memory answers each question: ``(schedules, items)``, bool."""
    return right_together(loader, [asked], schedules)[0]


def right_together(
    loader: ModelLoader, several: Sequence[Questions], schedules: Sequence[Schedule]
) -> list[Tensor]:
    """The same for several tasks, or numbers of examples, in one pass.

    The model in memory loops from now on, by the schedule it had.
    """
    lm = scorer_of(loader)
    loop(lm.model)
    for schedule in schedules:
        schedule.check_fits(lm.model.config.num_unique_layers)
    every = [question for asked in several for question in asked.asked]
    pairs = [(question.context, option) for question in every for option in question.options]
    scores = [iter(found) for found in lm.score_schedules(pairs, schedules, not loader.bars)]
    right = torch.tensor(
        [[_best(found, len(q.options)) == q.answer for q in every] for found in scores]
    )
    return list(torch.split(right, [len(asked.asked) for asked in several], dim=1))


def _best(scores: Iterator[tuple[float, bool]], count: int) -> int:
    """Which of the next ``count`` options is the most probable."""
    values = [next(scores)[0] for _ in range(count)]
    return values.index(max(values))


def accuracy_row(right: Tensor, asked: Questions, **more: Any) -> Row:
    """A row: accuracy, its interval over items, and every answer as 0 or 1.

    Args:
        right: ``(items,)``, bool.
        more: what tells it from other rows.
    """
    values = [float(value) for value in right]
    mean = statistics.fmean(values)
    return Row.make(
        **asked.about,
        metric="acc",
        value=mean,
        stderr=(mean * (1 - mean) / (len(values) - 1)) ** 0.5,
        **ends(share_interval(mean, len(values))),
        answers="".join(str(int(value)) for value in right),
        **more,
    )


def with_difference(row: Row, plain: Row) -> Row:
    """Add a row's difference to another on the same items: difference, interval, McNemar's p."""
    found = paired(row.correct, plain.correct)
    return row.replace(
        difference=found.difference,
        # a schedule is exactly as good as itself
        **ends(None if row is plain else (found.low, found.high), "difference_"),
        better=found.better,
        worse=found.worse,
        p=found.p,
    )
