"""Multiple-choice tasks of lm-eval as probes.

The task's own prompts, examples and metric are used. Candidates are chosen on the documents of one
labelled split and reported on those of another.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ...tasks.scoring.planning import their_tasks
from .items import Item, ProbeItems

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM

VALIDATION = "validation"


def load(lm: TrieLM, name: str, split: str, count: int, seed: int) -> list[ProbeItems]:
    """Load the items of a task or group.

    Args:
        split: ``validation`` for items to choose on, ``test`` for items to report on.
        count: most items of a task, drawn by ``seed``.

    Raises:
        InputError: an unknown task, one that is not multiple choice, or one with a single split.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager, names = their_tasks([name], {})
    try:
        tasks = manager.load(names)["tasks"]
    except Exception as error:  # lm-eval's tasks fail on missing data in ways of their own
        raise InputError(f"lm-eval cannot load {name}: {str(error).splitlines()[0]}") from error
    return [_items(lm, label, task, split, count, seed) for label, task in tasks.items()]


def _items(lm: TrieLM, label: str, task: Any, split: str, count: int, seed: int) -> ProbeItems:
    if task.OUTPUT_TYPE != "multiple_choice":
        raise InputError(
            f"{label} is scored as {task.OUTPUT_TYPE}: a probe is multiple choice, or a file of "
            "prompts with answers"
        )
    chosen = choice_split(task, label) if split == VALIDATION else None
    if chosen is not None:
        task.set_config(key="test_split", value=chosen)
    documents = len(list(task.eval_docs))
    order = np.random.default_rng(seed).permutation(documents)[:count]
    with contextlib.redirect_stderr(io.StringIO()):  # lm-eval's progress bar cannot be turned off
        task.build_all_requests(samples=sorted(map(int, order)))
    by_item: dict[int, list[Any]] = defaultdict(list)
    for request in task.instances:
        by_item[request.doc_id].append(request)
    documents_read = list(by_item)  # in their own order; a race needs a random one
    np.random.default_rng(seed).shuffle(documents_read)
    rows = [sorted(by_item[d], key=lambda request: request.idx) for d in documents_read]
    encoded = iter(lm.encoded([request.args for row in rows for request in row]))
    normalised = any(metric["metric"] == "acc_norm" for metric in task.config.metric_list)
    items = []
    for row in rows:
        own = list(itertools.islice(encoded, len(row)))
        lm.check(own)
        target = task.doc_to_target(row[0].doc)
        choices = task.doc_to_choice(row[0].doc)
        answer = choices.index(target) if isinstance(target, str) else int(target)
        lengths = tuple(len(choice) for choice in choices) if normalised else None
        items.append(Item(own[0][1], [option for _, _, option in own], answer, lengths))
    chance = float(np.mean([1 / len(item.options) for item in items])) if items else None
    about = {"task": label, "version": str(task.VERSION), "split": split, "seed": seed,
             "shots": task.config.num_fewshot, "n": len(items)}  # fmt: skip
    return ProbeItems(label, split, chance, tuple(items), about)


def choice_split(task: Any, label: str) -> str:
    """Return the labelled split to choose on: one that the task does not report on.

    Raises:
        InputError: the task has one labelled split alone.
    """
    splits = task.config.validation_split, task.config.training_split
    reported = task.config.test_split or task.config.validation_split
    for name in splits:
        if name is not None and name != reported:
            return str(name)
    raise InputError(
        f"{label} has no validation split apart from the one it reports on: a choice needs items "
        "of its own; give another probe, or a file"
    )
