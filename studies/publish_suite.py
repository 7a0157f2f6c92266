"""Publish results of the paper's suite: records of its columns and of each task in them."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from ..leaderboard import Record
from ..leaderboard.harness_options import record_fields
from ..tasks.benchmarks import COLUMNS, SuiteResult
from ..tasks.benchmarks.store import TaskResult
from ..tasks.notes import CUT, SYSTEM
from .describe import package_versions


def suite_records(
    result: SuiteResult, model: dict[str, Any], cost: dict[str, Any], command: str
) -> list[Record]:
    """Make a record for each column with a mean, each task and the held-out text.

    Args:
        result: result of ``run_suite``.
        model, cost: description and costs, from :func:`.describe.describe`.
        command: command line that measured it.

    Raises:
        InputError: a value that no record can hold.
    """
    settings = result.settings
    metadata = next((task.told for task in result.tasks.values() if task.told), {})
    run = record_fields(metadata)
    changed = {name: run[name] for name in ("revision", "changes") if run[name]}
    shared: dict[str, Any] = {
        "version": 1,
        "model": {**changed, **model},
        "cost": cost,
        "schedule": result.schedule,
        # as it ran; older results have only the requested one
        "dtype": run["dtype"] or (None if settings["dtype"] == "auto" else settings["dtype"]),
        "device": run["device"],
        "settings": run["settings"],
        "backend": settings["backend"],
        "versions": package_versions(),
        "command": command,
        "time": datetime.now(UTC).isoformat(),
    }
    if (limit := settings["limit"]) is not None:
        shared["conditions"] = {"limit": limit}
    records: list[Record] = []

    def add(task: dict[str, Any], value: float, stderr: float | None, n: int) -> None:
        if options := _options(result, draws=bool(task.get("shots"))):
            task = task | {"prompting": ", ".join(filter(None, [options, task.get("prompting")]))}
        reported = {name: value for name, value in task.items() if value is not None}
        fields = {**shared, "task": reported, "value": value, "n": n}
        fields |= {"stderr": stderr}
        records.append(Record.from_fields({k: v for k, v in fields.items() if v is not None}))

    cells = {cell.key: cell for cell in result.cells}
    for column in COLUMNS:
        members = [result.tasks[m.task] for m in column.members if m.task in result.tasks]
        for benchmark in column.members:
            if (task := result.tasks.get(benchmark.task)) is None:
                continue
            about: dict[str, Any] = {"name": task.task, "metric": task.metric, "shots": task.shots}
            about |= {"fingerprint": task.fingerprint, "version": str(benchmark.version)}
            about |= {"prompting": _prompting([task])}
            add(about, task.value, task.stderr, task.n)
            for metric in benchmark.further:
                value = task.others[f"{metric},{benchmark.filter}"]
                add(about | {"metric": metric}, value, None, task.n)
        cell = cells[column.key]
        if cell.value is None or len(column.members) == 1:
            continue
        about = {"name": column.group, "metric": members[0].metric, "shots": members[0].shots}
        about["fingerprint"] = _combined_digest([task.fingerprint for task in members])
        about |= {"version": str(column.version), "prompting": _prompting(members)}
        stderr = None if cell.stderr is None else cell.stderr / 100
        add(about, cell.value / 100, stderr, sum(task.n for task in members))
    if nll := result.holdout:
        about = {"name": "holdout", "metric": "nats_per_byte", "fingerprint": nll.fingerprint}
        about |= {"version": "1", "higher_is_better": False}
        add(about, nll.nats_per_byte, None, nll.documents)
        if nll.stderr is not None:
            add(about | {"metric": "nats_per_token"}, nll.nats_per_token, nll.stderr, nll.documents)
    return records


def _prompting(tasks: list[TaskResult]) -> str | None:
    """Count prompts that differ from the tasks' own, e.g. those cut at the front."""
    counts: Counter[str] = Counter()
    for task in tasks:
        counts.update({kind: n for kind, n in task.notes.items() if kind in (CUT, SYSTEM)})
    return ", ".join(f"{kind}: {number}" for kind, number in sorted(counts.items())) or None


def _options(result: SuiteResult, draws: bool) -> str | None:
    """Describe options that changed the questions.

    Args:
        draws: whether prompts have examples.
    """
    for task in result.tasks.values():
        if task.told:
            prompting: str | None = record_fields(task.told, draws)["prompting"]
            return prompting
    options = result.settings.get("options") or {}  # older results, which are not sorted
    parts = [f"{name} {value}" for name, value in sorted(options.items())]
    return f"options {_combined_digest(parts)[:12]}" if parts else None


def _combined_digest(fingerprints: list[str]) -> str:
    return hashlib.sha256("\0".join(fingerprints).encode()).hexdigest()
