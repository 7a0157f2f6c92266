"""Records of the paper's suite: its columns, and each task in them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Any

from ..leaderboard import Record
from ..tasks.benchmarks import COLUMNS, SuiteResult
from .recording import versions


def suite_records(
    result: SuiteResult, model: dict[str, Any], cost: dict[str, Any], command: str
) -> list[Record]:
    """A record for each column that has a mean, each task and the held-out text.

    Args:
        result: of ``run_suite``.
        model, cost: as ``recording.describe`` notes them.
        command: that measured it.

    Raises:
        RecordError: a value that no record can hold.
    """
    settings = result.settings
    shared: dict[str, Any] = {
        "version": 1,
        "model": model,
        "cost": cost,
        "schedule": result.schedule,
        "dtype": settings["dtype"],
        "versions": versions(),
        "command": command,
        "time": datetime.now(timezone.utc).isoformat(),
    }
    if (limit := settings["limit"]) is not None:
        shared["conditions"] = {"limit": limit}
    found: list[Record] = []

    def add(task: dict[str, Any], value: float, stderr: float | None, n: int) -> None:
        fields = {**shared, "task": task, "value": value, "n": n}
        fields |= {"stderr": stderr}
        found.append(Record.from_fields({k: v for k, v in fields.items() if v is not None}))

    cells = {cell.key: cell for cell in result.cells}
    for column in COLUMNS:
        members = [result.tasks[m.task] for m in column.members if m.task in result.tasks]
        for benchmark in column.members:
            if (task := result.tasks.get(benchmark.task)) is None:
                continue
            about = {"name": task.task, "metric": task.metric, "shots": task.shots}
            about |= {"fingerprint": task.fingerprint, "version": str(benchmark.version)}
            add(about, task.value, task.stderr, task.n)
            for metric in benchmark.further:
                value = task.others[f"{metric},{benchmark.filter}"]
                add(about | {"metric": metric}, value, None, task.n)
        cell = cells[column.key]
        if cell.value is None or len(column.members) == 1:
            continue
        about = {"name": column.group, "metric": members[0].metric, "shots": members[0].shots}
        about["fingerprint"] = _together([task.fingerprint for task in members])
        about["version"] = str(column.version)
        stderr = None if cell.stderr is None else cell.stderr / 100
        add(about, cell.value / 100, stderr, sum(task.n for task in members))
    if nll := result.holdout:
        about = {"name": "holdout", "metric": "nats_per_byte", "fingerprint": nll.fingerprint}
        about |= {"version": "1", "higher_is_better": False}
        add(about, nll.nats_per_byte, None, nll.documents)
        if nll.stderr is not None:
            add(about | {"metric": "nats_per_token"}, nll.nats_per_token, nll.stderr, nll.documents)
    return found


def _together(fingerprints: list[str]) -> str:
    return hashlib.sha256("\0".join(fingerprints).encode()).hexdigest()
