"""Multiple-choice tasks of lm-eval as probes.

The task's own prompts, examples and metric are used. Candidates are chosen on the documents of one
labelled split and reported on those of another.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from ...tasks.harness_questions import answer_of, load_tasks, requests
from .items import Item, ProbeItems

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM


def load(lm: TrieLM, name: str, split: str, count: int, seed: int) -> list[ProbeItems]:
    """Load the items of a task or group.

    Args:
        split: ``validation`` for items to choose on, ``test`` for items to report on.
        count: most items of a task, drawn by ``seed``.

    Raises:
        InputError: an unknown task, one that is not multiple choice, or one with a single split.
    """
    tasks = load_tasks(name)
    return [_items(lm, label, task, split, count, seed) for label, task in tasks.items()]


def _items(lm: TrieLM, label: str, task: Any, split: str, count: int, seed: int) -> ProbeItems:
    rows = requests(task, label, split, count, seed)
    encoded = iter(lm.encoded([request.args for row in rows for request in row]))
    normalised = any(metric["metric"] == "acc_norm" for metric in task.config.metric_list)
    items = []
    for row in rows:
        own = list(itertools.islice(encoded, len(row)))
        lm.check(own)
        choices = task.doc_to_choice(row[0].doc)
        lengths = tuple(len(choice) for choice in choices) if normalised else None
        options = [option for _, _, option in own]
        items.append(Item(own[0][1], options, answer_of(task, row[0]), lengths))
    chance = float(np.mean([1 / len(item.options) for item in items])) if items else None
    about = {"task": label, "version": str(task.VERSION), "split": split, "seed": seed,
             "shots": task.config.num_fewshot, "n": len(items)}  # fmt: skip
    return ProbeItems(label, split, chance, tuple(items), about)
