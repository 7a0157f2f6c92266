"""Records of studies as records of the leaderboard, named as the claims look for them.

A study keeps every point it measured in its own files. What is published are the numbers that
models are compared by: of a repeated block the one chosen on validation items, of depth the score
and what is there half way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..leaderboard import Record
from ..primitives.errors import InputError
from .recording import cost_of, model_of, versions
from .study import Record as Measured

Z = 1.959964
HALFWAY = "halfway"


def published(measured: Sequence[Measured], time: str | None = None) -> list[Record]:
    """Records of the leaderboard from all records of one study.

    Args:
        measured: what ``study.run`` returned.
        time: when it was measured, in ISO 8601 with a time zone.

    Raises:
        InputError: a study whose numbers are not for the leaderboard.
    """
    names = {record["study"] for record in measured}
    for name in names:
        if name not in PUBLISHED:
            allowed = ", ".join(PUBLISHED)
            raise InputError(f"results of {name} are not for the leaderboard, those of {allowed}")
    return [
        _record(record, row, conditions, time)
        for name in sorted(names)
        for record, row, conditions in PUBLISHED[name]([r for r in measured if r["study"] == name])
    ]


Point = tuple[Measured, dict[str, Any], dict[str, Any]]
"""A record, a row of it as the leaderboard has it, and the conditions."""


def _repeats(measured: Sequence[Measured]) -> list[Point]:
    """The block that was best on validation items, on test items, however often it ran."""
    groups: dict[tuple[str, str, int], list[Measured]] = {}
    for record in measured:
        cell = record["cell"]
        key = cell["model"], cell["params"]["task"], cell["params"]["block"]
        groups.setdefault(key, []).append(record)
    found: list[Point] = []
    for group in groups.values():
        chosen = max(group, key=lambda record: (_best(record), -record["cell"]["params"]["start"]))
        place = chosen["cell"]["params"]
        block = f"{place['start']}:{place['start'] + place['block']}"
        found += [
            (chosen, row, {"times": row["times"], "block": block, "chosen": True})
            for row in chosen["rows"]
            if row["split"] == "test" and row["control"] == "none"
        ]
    return found


def _best(record: Measured) -> float:
    """Of a block, on validation items, when it is repeated."""
    rows = [r for r in record["rows"] if r["split"] == "validation" and r["times"] > 0]
    return max(float(row["value"]) for row in rows)


def _depth(measured: Sequence[Measured]) -> list[Point]:
    """The depth score as a share of the depth; overlap and accuracy half way."""
    found: list[Point] = []
    for record in measured:
        part, rows = record["cell"]["params"]["part"], record["rows"]
        if part == "score":
            [row] = rows
            last = record["model"]["effective_depth"] - 1
            share = {name: row[name] / last for name in ("value", "low", "high")}
            about = {"task": "depth_score", "metric": "depth_score", "chance": 0.5}
            found.append((record, row | share | about, {}))
            continue
        if part == "overlap":
            rows = [row | {"task": "top5_overlap"} for row in rows if row["metric"] == "overlap"]
        middle = rows[(len(rows) - 1) // 2]
        found.append((record, middle, {"place": HALFWAY, "lens": record["data"]["lens"]}))
    return found


PUBLISHED: Mapping[str, Callable[[Sequence[Measured]], list[Point]]] = {
    "inference-scaling": _repeats,
    "depth": _depth,
}


def _record(
    measured: Measured, row: dict[str, Any], conditions: dict[str, Any], time: str | None
) -> Record:
    from ..models.checkpoints import load_config

    cell = measured["cell"]
    config = load_config(cell["path"])
    model = model_of(config, cell["path"])
    schedule, cost = cost_of(config, row.get("schedule"))
    stderr = row.get("stderr", (row["high"] - row["low"]) / 2 / Z)
    fields = {
        "version": 1,
        "study": measured["study"],
        "model": model.model_dump(mode="json", exclude_defaults=True),
        "cost": cost.model_dump(mode="json", exclude_defaults=True),
        "schedule": None if schedule == model.schedule else schedule,
        "task": {
            "name": row["task"],
            "metric": row["metric"],
            "version": str(row["version"]) if "version" in row else None,
            "fingerprint": row["fingerprint"],
            "shots": row.get("shots"),
            "split": row.get("split"),
            "chance": row.get("chance"),
        },
        "value": float(row["value"]),
        "stderr": float(stderr),
        "n": row["n"],
        "seed": row.get("seed", cell["options"].get("seed")),
        "conditions": conditions,
        "dtype": measured["model"]["dtype"],
        "versions": versions(),
        "command": measured["command"] or None,
        "time": time,
    }
    return Record.from_fields(fields)


def written_at(path: Path) -> str:
    """When a file was written, as records say it."""
    moment = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    return moment.isoformat(timespec="seconds")
