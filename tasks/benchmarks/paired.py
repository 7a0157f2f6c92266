"""Paired comparison of two models on the same benchmark questions, with intervals.

Differences are taken per question, so question difficulty cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.significance import paired_interval
from ...core.statistics import Interval, ratio_interval
from ...core.strict_json import loads, seal_problem
from .catalog import COLUMNS, NLL


@dataclass(frozen=True)
class Difference:
    """Difference of two models: second minus first, in percent (likelihood: nats per token).

    Args:
        name: task, or key of a column.
        n: number of questions, or documents.
        first, second: scores of the models, in the unit of the difference.
        low, high: 95 % interval; None for a single question, and for documents without spread.
        members: tasks of a column that both models have; empty for a task.
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
    """Compare two suite folders (as in ``--out``) on the tasks and columns that both have.

    A column is the mean of those of its tasks that both have; see ``members``.

    Raises:
        InputError: a folder without results, or results on different questions.

    Example::

        for row in compare("results/standard-0f3a", "results/looped-5b6c"):
            print(row.name, row.difference, row.low, row.high)
    """
    folders = [_results(first), _results(second)]
    differences: list[Difference] = []
    if all(NLL in results for results in folders):
        differences.append(_likelihood(folders[0][NLL], folders[1][NLL]))
    for column in COLUMNS:
        names = [m.task for m in column.members if all(m.task in results for results in folders)]
        changes = [_changes(name, folders[0][name], folders[1][name]) for name in names]
        tasks = [
            _task(name, folders[0][name], folders[1][name], each)
            for name, each in zip(names, changes, strict=True)
        ]
        differences += tasks
        if len(column.members) > 1 and tasks:
            differences.append(_column(column.key, tasks, changes))
    if not differences:
        raise InputError(f"{first} and {second} have no task in common")
    return differences


def _results(folder: str | Path) -> dict[str, Any]:
    """Read the results of a suite folder: task -> fields of its result, and the likelihood."""
    results = {}
    for path in sorted(Path(folder).glob("*.json")):
        if path.name != "suite.json":
            try:
                content = loads(path.read_bytes())
                result = content["result"]
                if seal_problem(content) or not result["items"]:
                    raise ValueError
                results[path.stem] = result
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is not a result of a suite") from error
    if not results:
        raise InputError(f"{folder} holds no results of a suite")
    return results


def _percent(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (100 * interval[0], 100 * interval[1])


def _changes(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Return second minus first for each question."""
    items = [sorted(r["items"], key=lambda item: (item["hash"], item["id"])) for r in (one, other)]
    if [item["hash"] for item in items[0]] != [item["hash"] for item in items[1]]:
        raise InputError(f"{name}: the two models answered different questions")
    metrics = [sorted(result.get("others", {})) for result in (one, other)]
    if metrics[0] != metrics[1]:  # an older version of the task, with another definition of one
        only = ", ".join(sorted(set(metrics[0]) ^ set(metrics[1])))
        raise InputError(
            f"{name}: the two models were scored by different versions ({only} in one only)"
        )
    return [b["value"] - a["value"] for a, b in zip(*items, strict=True)]


def _task(
    name: str, one: Mapping[str, Any], other: Mapping[str, Any], changes: Sequence[float]
) -> Difference:
    n = len(changes)
    means = [100 * sum(item["value"] for item in result["items"]) / n for result in (one, other)]
    return Difference(
        name, n, means[0], means[1], 100 * sum(changes) / n, *_percent(paired_interval([changes]))
    )


def _column(
    key: str, tasks: Sequence[Difference], changes: Sequence[Sequence[float]]
) -> Difference:
    """Average the differences of tasks."""
    count = len(tasks)
    return Difference(
        key,
        sum(task.n for task in tasks),
        sum(task.first for task in tasks) / count,
        sum(task.second for task in tasks) / count,
        sum(task.difference for task in tasks) / count,
        *_percent(paired_interval(changes)),
        tuple(task.name for task in tasks),
    )


def _likelihood(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    """Compare nats per token; documents are the sampled units."""
    if one["fingerprint"] != other["fingerprint"] or one["tokens"] != other["tokens"]:
        raise InputError(
            f"{NLL}: the two models were measured on different text, or with different tokenizers"
        )
    tokens = [item["tokens"] for item in one["items"]]
    pairs = zip(one["items"], other["items"], strict=True)
    changes = [second["nats"] - first["nats"] for first, second in pairs]
    total, count = sum(tokens), len(tokens)
    values = [result["nats"] / total for result in (one, other)]
    interval: Interval | None = ratio_interval(changes, tokens)
    return Difference(
        NLL, count, values[0], values[1], sum(changes) / total, *(interval or (None, None))
    )
