"""Tasks of lm-eval as probes: multiple choice, and short generated answers.

The task's own prompts, examples and metric are used. Candidates are chosen on the documents of one
labelled split and reported on those of another.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError
from ...tasks.harness_questions import answer_of, load_tasks, requests
from .items import GeneratedItem, Item, ProbeItems

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM


GREEDY = ("do_sample", "temperature", "top_p", "top_k", "min_p", "num_beams")
"""Settings of generation that greedy decoding replaces."""
SIZES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def load(
    lm: TrieLM, name: str, split: str, count: int, seed: int, longest: int
) -> list[ProbeItems]:
    """Load the items of a task or group.

    Args:
        split: ``validation`` for items to choose on, ``test`` for items to report on.
        count: most items of a task, drawn by ``seed``.
        longest: most tokens of a generated answer.

    Raises:
        InputError: an unknown task, one that is scored in another way, or one with a single split.
    """
    tasks = load_tasks(name, generative=True)
    return [_items(lm, label, task, split, count, seed, longest) for label, task in tasks.items()]


def _items(
    lm: TrieLM, label: str, task: Any, split: str, count: int, seed: int, longest: int
) -> ProbeItems:
    rows = requests(task, label, split, count, seed)
    # documents come in their own order, and a race needs a random one
    rows = [rows[int(i)] for i in np.random.default_rng(seed).permutation(len(rows))]
    about = {"task": label, "version": str(task.VERSION), "split": split, "seed": seed,
             "shots": task.config.num_fewshot, "n": len(rows)}  # fmt: skip
    if task.OUTPUT_TYPE == "generate_until":
        return _generated(lm, label, task, rows, about, longest)
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
    about["metric"] = "acc_norm" if normalised else "acc"
    return ProbeItems(label, split, chance, tuple(items), about)


def _generated(
    lm: TrieLM,
    label: str,
    task: Any,
    rows: Sequence[Sequence[Any]],
    about: dict[str, Any],
    longest: int,
) -> ProbeItems:
    """Return the items of a task whose answers are generated.

    Raises:
        InputError: a task without a metric of one answer from 0 to 1.
    """
    metric, items = _metric(task, label), []
    for [request] in rows:
        prompt, options = request.args
        rest = {key: value for key, value in options.items() if key not in (*GREEDY, *SIZES)}
        most = min(longest, lm._max_new_tokens(request))
        about["max_gen_toks"] = most
        found = copy.copy(request)
        found.arguments = prompt, {**rest, "do_sample": False, "max_gen_toks": most}
        items.append(GeneratedItem(found, functools.partial(_points, task, label, metric, found)))
    about["metric"] = metric
    return ProbeItems(label, about["split"], 0.0, tuple(items), about)  # nothing right by chance


def _metric(task: Any, label: str) -> str:
    """Return the first metric of a task that is a mean over answers, the higher the better.

    Raises:
        InputError: there is none.
    """
    better = task.higher_is_better()
    for name, aggregation in task.aggregation().items():
        if better.get(name, True) and getattr(aggregation, "__name__", "") == "mean":
            return str(name)
    raise InputError(
        f"{label} has no metric that is a mean over its answers ({', '.join(task.aggregation())}): "
        "a scan compares candidates answer by answer"
    )


def _points(task: Any, label: str, metric: str, request: Any, text: str) -> float:
    """Return the points of an answer by a task's metric, after the task's first filter.

    Raises:
        InputError: points that are no number from 0 to 1.
    """
    answered = copy.copy(request)
    answered.resps, answered.filtered_resps = [text], {}
    first = task._filters[0]
    first.apply([answered])
    found = task.process_results(answered.doc, [answered.filtered_resps[first.name]]).get(metric)
    try:
        points = float(found)
    except (TypeError, ValueError):
        points = -1.0
    if not 0 <= points <= 1:
        raise InputError(f"{metric} of {label} gives an answer {found!r}, no number from 0 to 1")
    return points
