"""Accuracies of schedules on the same questions, as rows of a record."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..models import Schedule
from ..primitives.errors import one_of, whole
from .intervals import bootstrap, check_items, paired, wilson
from .questions import Questions, check_questions, encoder, questions, task_names
from .study import Loaded
from .sweep import Sweep

SPLITS = ("validation", "test")


def check_accuracy(names: Sequence[str], items: int, shots: int, seed: int, split: str) -> None:
    """Refuse tasks and numbers of items that cannot be scored, before the slow part."""
    one_of("split", split, SPLITS)
    whole("items", items, 1, 10**7)
    check_items(items)
    for name in task_names(names):
        check_questions(name, items, split, seed, shots)


def ask(loaded: Loaded, name: str, items: int, split: str, seed: int, shots: int) -> Questions:
    """The questions of a task for the model in memory; made once."""
    key = name, items, split, seed, shots
    if key not in loaded.kept:
        if (None,) not in loaded.kept:
            loaded.kept[(None,)] = encoder(loaded.model, loaded.tokenizer)
        coder = loaded.kept[(None,)]
        loaded.kept[key] = questions(coder, name, items, split=split, seed=seed, shots=shots)
    found: Questions = loaded.kept[key]
    return found


def right_answers(model: Any, asked: Questions, schedules: Sequence[Schedule]) -> Tensor:
    """Whether each schedule answers each question: ``(schedules, items)``, bool."""
    sweep = Sweep(model, schedules)
    answers = [sweep.scores(question).argmax(1) == question.answer for question in asked.asked]
    return torch.stack(answers, dim=1)


def accuracy_row(right: Tensor, asked: Questions, **more: Any) -> dict[str, Any]:
    """A row: accuracy, its interval over items, and every answer as 0 or 1.

    Args:
        right: ``(items,)``, bool.
        more: what tells it from other rows.
    """
    values = [float(value) for value in right]
    mean = statistics.fmean(values)
    # drawn with replacement, answers that are all alike have no spread: Wilson's interval has
    low, high = bootstrap(values) if 0 < mean < 1 else wilson(mean, len(values))
    return {
        **asked.about,
        "metric": "acc",
        "value": mean,
        "stderr": (mean * (1 - mean) / (len(values) - 1)) ** 0.5,
        "low": low,
        "high": high,
        "answers": "".join(str(int(value)) for value in right),
        **more,
    }


def against(row: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """A row's difference to another on the same items: difference, interval, McNemar's p."""
    found = paired(*([a == "1" for a in side["answers"]] for side in (row, plain)))
    return {
        "difference": found.difference,
        "difference_low": found.low,
        "difference_high": found.high,
        "better": found.better,
        "worse": found.worse,
        "p": found.p,
    }
