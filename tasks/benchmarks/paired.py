"""Two models on the same questions: differences with intervals.

The difference of each question is averaged, so what makes questions hard for both cancels. The
intervals are normal approximations, 1.96 standard errors to both sides.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...primitives.errors import InputError
from .catalog import COLUMNS, NLL

WIDTH = 1.96


@dataclass(frozen=True)
class Difference:
    """Second minus first, in percent (of the likelihood: in nats a token).

    Args:
        low, high: a 95 % interval; None for a single question.
        members: the tasks a column has both results of; empty for a task.
    """

    name: str
    n: int
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    members: tuple[str, ...] = ()


def compare(first: str | Path, second: str | Path) -> list[Difference]:
    """Tasks and columns that two suite folders (as ``--out`` holds them) both have.

    A column stands for those of its tasks that both have: see ``members``.

    Raises:
        InputError: a folder holds no results, or the two are about other questions.
    """
    folders = [_results(first), _results(second)]
    found: list[Difference] = []
    if all(NLL in results for results in folders):
        found.append(_likelihood(folders[0][NLL], folders[1][NLL]))
    for column in COLUMNS:
        names = [m.task for m in column.members if all(m.task in results for results in folders)]
        tasks = [_task(name, folders[0][name], folders[1][name]) for name in names]
        found += tasks
        if len(column.members) > 1 and tasks:
            found.append(_column(column.key, tasks))
    if not found:
        raise InputError(f"{first} and {second} have no task in common")
    return found


def _results(folder: str | Path) -> dict[str, Any]:
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        if path.name != "suite.json":
            try:
                result = json.loads(path.read_bytes())["result"]
                if not result["items"]:
                    raise ValueError
                found[path.stem] = result
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is no result of a suite") from error
    if not found:
        raise InputError(f"{folder} holds no results of a suite")
    return found


def _interval(difference: float, stderr: float | None) -> tuple[float | None, float | None]:
    if stderr is None:
        return None, None
    return difference - WIDTH * stderr, difference + WIDTH * stderr


def _task(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    items = [sorted(r["items"], key=lambda item: (item["hash"], item["id"])) for r in (one, other)]
    if [item["hash"] for item in items[0]] != [item["hash"] for item in items[1]]:
        raise InputError(f"{name}: the two were asked different questions")
    metrics = [sorted(result.get("others", {})) for result in (one, other)]
    if metrics[0] != metrics[1]:  # an older version of the task, with another definition of one
        only = ", ".join(sorted(set(metrics[0]) ^ set(metrics[1])))
        raise InputError(f"{name}: the two were scored by different versions ({only} in one only)")
    values = [[item["value"] for item in some] for some in items]
    differences = [b - a for a, b in zip(*values, strict=True)]
    mean, stderr = _mean(differences)
    low, high = _interval(100 * mean, None if stderr is None else 100 * stderr)
    means = [100 * sum(some) / len(some) for some in values]
    return Difference(name, len(differences), means[0], means[1], 100 * mean, low, high)


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """A mean and its standard error."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    squares = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(squares / len(values))


def _column(key: str, tasks: Sequence[Difference]) -> Difference:
    """The plain mean of differences that are independent of each other."""
    count = len(tasks)
    mean = sum(task.difference for task in tasks) / count
    errors = [None if t.high is None else (t.high - t.difference) / WIDTH for t in tasks]
    known = [error for error in errors if error is not None]
    stderr = math.sqrt(sum(e**2 for e in known)) / count if len(known) == count else None
    return Difference(
        key,
        sum(task.n for task in tasks),
        sum(task.first for task in tasks) / count,
        sum(task.second for task in tasks) / count,
        mean,
        *_interval(mean, stderr),
        tuple(task.name for task in tasks),
    )


def _likelihood(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    """Of the nats a token; documents are what is drawn."""
    if one["fingerprint"] != other["fingerprint"] or one["tokens"] != other["tokens"]:
        raise InputError(f"{NLL}: the two were measured on other text, or with other tokenizers")
    tokens = [item["tokens"] for item in one["items"]]
    total, count = sum(tokens), len(tokens)
    pairs = zip(one["items"], other["items"], strict=True)
    changes = [second["nats"] - first["nats"] for first, second in pairs]
    mean = sum(changes) / total
    squares = sum((c - mean * size) ** 2 for c, size in zip(changes, tokens, strict=True))
    stderr = math.sqrt(squares * count / (count - 1)) / total if count > 1 else None
    values = [result["nats"] / total for result in (one, other)]
    return Difference(NLL, count, values[0], values[1], mean, *_interval(mean, stderr))
