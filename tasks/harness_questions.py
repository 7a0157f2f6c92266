"""Questions of lm-eval's tasks: multiple choice for studies and scans, generative for scans.

The task's own prompts and examples are used. ``test`` are the documents that the task reports on,
``validation`` those of another labelled split.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import InputError
from .scoring.planning import their_tasks

_tasks: dict[str, Any] = {}
"""Name -> task that was loaded by :func:`load_tasks`."""

_zero_shot: set[str] = set()
"""Labels of tasks whose own configuration says 0 examples, which lm-eval then keeps."""


def load_tasks(name: str, generative: bool = False) -> dict[str, Any]:
    """Load a task, group or task file of lm-eval: label -> task, each multiple choice.

    Args:
        generative: whether tasks may be generative too.

    Raises:
        InputError: an unknown task, one that cannot be loaded, or one of another output type.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager, names = their_tasks([name], {})
    try:
        tasks: dict[str, Any] = manager.load(names)["tasks"]
    except Exception as error:  # lm-eval's tasks fail on missing data in ways of their own
        raise InputError(f"lm-eval cannot load {name}: {str(error).splitlines()[0]}") from error
    for label, task in tasks.items():
        allowed = ["multiple_choice", *(["generate_until"] if generative else [])]
        if task.OUTPUT_TYPE not in allowed:
            wanted = "multiple choice" + (" or by generated answers" if generative else "")
            raise InputError(f"{label} is scored as {task.OUTPUT_TYPE}, not as {wanted}")
    return tasks


def expand(name: str) -> list[str]:
    """Return the names of the tasks of a group, or the name of a task; loads their data once.

    Raises:
        InputError: as :func:`load_tasks`.
    """
    if name in _tasks:
        return [name]
    tasks = load_tasks(name)
    for label, task in tasks.items():
        _zero_shot.update({label} if task.config.num_fewshot == 0 else ())
    if len(tasks) == 1:  # a file is found by its path in another process too
        _tasks[name] = next(iter(tasks.values()))
        return [name]
    _tasks.update(tasks)
    return list(tasks)


def loaded(name: str) -> Any:
    """Return a task by a name that :func:`expand` returned."""
    [known] = expand(name)
    return _tasks[known]


def shots_of(label: str, shots: int) -> int:
    """Return the number of examples before a question: none if the task's configuration says 0."""
    return 0 if label in _zero_shot else shots


def requests(task: Any, label: str, split: str, count: int, seed: int) -> list[list[Any]]:
    """Build the requests of at most ``count`` documents, drawn by ``seed``: one list a document.

    Raises:
        InputError: a document whose options have contexts of their own (as WinoGrande's); a task
            without another labelled split than the one it reports on, for ``validation``.
    """
    was = task.config.test_split
    if split == "validation":
        task.set_config(key="test_split", value=choice_split(task, label))
    try:
        documents = len(list(task.eval_docs))
        order = np.random.default_rng(seed).permutation(documents)[:count]
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar cannot be turned off
            task.build_all_requests(samples=sorted(map(int, order)))
    except (ValueError, KeyError, IndexError, AssertionError, TypeError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"lm-eval cannot build the questions of {label}: {reason}") from error
    finally:
        task.set_config(key="test_split", value=was)
    by_item: dict[int, list[Any]] = defaultdict(list)
    for request in task.instances:
        by_item[request.doc_id].append(request)
    rows = [sorted(found, key=lambda request: request.idx) for found in by_item.values()]
    for row in rows:
        if len({request.args[0] for request in row}) > 1:
            raise InputError(
                f"{label} has a context for each option of a question: only tasks whose options "
                "continue one prompt can be used here"
            )
    return rows


def answer_of(task: Any, request: Any) -> int:
    """Return the index of the right option of a request's document."""
    target = task.doc_to_target(request.doc)
    if isinstance(target, str):
        return int(task.doc_to_choice(request.doc).index(target))
    return int(target)


def fingerprint(rows: Sequence[Sequence[Any]]) -> str:
    """Compute the SHA-256 of prompts and options: equal for equal questions."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\0".join([row[0].args[0], *(request.args[1] for request in row)]).encode())
        digest.update(b"\1")
    return digest.hexdigest()


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
