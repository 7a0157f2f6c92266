"""Records of studies as records of the leaderboard: from what was measured, or from its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..leaderboard import Record
from . import leaderboard_rows as points
from .describe import cost_of, model_of
from .describe import versions as installed
from .leaderboard_rows import Point, Points, stderr_of
from .measure.controls import split_controls
from .records import read_record
from .study import Record as Measured

PUBLISHED: Mapping[str, Points] = {
    # study: which of its numbers
    "trade-offs": points.as_they_are(study=False, plain=True),
    "inference-scaling": points.repeats,
    "in-context-scaling": points.in_context,
    "sample-efficiency": points.tuned,
    "cooldown": points.as_they_are(study=False, plain=True),
    "retrofit": points.as_they_are("trained", "block", "times", plain=True),
    "swaps": points.swapped,
    "depth": points.depth,
    "contributions": points.recurring,
    "local-effects": points.local,
    "loops-against-depth": points.as_they_are(),
    "weight-similarity": points.alike,
    "adaptive-exit": points.at_exits,
}
NOTHING = {
    # study: why a model may have no number of it
    "swaps": "no two blocks of this size are neighbours in the middle half of its steps",
    "contributions": "it has too few steps to see its block recur",
}


def published(measured: Sequence[Measured], time: str | None = None) -> list[Record]:
    """Records of the leaderboard from records of studies; :func:`unpublished` has the rest.

    Args:
        measured: what ``runner.run`` returned; of a study that chooses, all cells it chose from.
        time: when it was measured, in ISO 8601 with a time zone, for records that do not say it.
    """
    measured, _ = split_controls(measured)
    names = {record["study"] for record in measured} & PUBLISHED.keys()
    found = [
        _record(point, time)
        for name in sorted(names)
        for point in PUBLISHED[name]([r for r in measured if r["study"] == name])
    ]
    return list({record.cell: record for record in found}.values())  # several cells may have one


def unpublished(measured: Sequence[Measured]) -> list[str]:
    """What a study has not for the leaderboard, or not yet, and why, a sentence each."""
    found = []
    for name, model in dict.fromkeys((r["study"], r["cell"]["model"]) for r in measured):
        some = [r for r in measured if (r["study"], r["cell"]["model"]) == (name, model)]
        told = PUBLISHED[name](some) if name in PUBLISHED else []
        if not told:
            reason = f": {NOTHING[name]}" if name in NOTHING else ""
            found.append(f"{name} has nothing of {model} for the leaderboard{reason}")
        early = {
            (point.row["task"], point.conditions["chosen"])
            for point in told
            if isinstance(point.conditions.get("chosen"), str)
        }
        found += [
            f"{name} has measured {among.removeprefix('of ')} of {model} for {task}: no claim "
            "counts what it chose before it has all"
            for task, among in sorted(early)
        ]
    return found


def read_all(out: str | Path) -> list[Measured]:
    """All records of studies in the folder that was their ``--out``.

    Raises:
        InputError: there are none, or a file that is no record.
    """
    files = sorted((Path(out) / "records").glob("*/*.json"))
    if not files:
        raise InputError(f"there are no records of studies below {out}: give the --out of a study")
    return [read_record(file) for file in files]


def _record(point: Point, time: str | None) -> Record:
    measured, row = point.record, point.row
    cell, about = measured["cell"], _described(measured, row.get("schedule"))
    model, seed = about["model"], row.get("seed", cell["options"].get("seed"))
    if "training_seed" in row and (began := measured.get("training")) is not None:
        # another order of the data in the cooldown of a checkpoint is no other training
        model, seed = model | {"seed": began["seed"]}, seed + row["training_seed"] - began["seed"]
        model.pop("digest", None)  # that of one of the orders
    schedule = row.get("schedule") or model["schedule"]
    cost = about["cost"][schedule]
    if point.untied:  # the cost of the tied model says nothing of it
        recipe = ", ".join(part for part in (model.get("recipe"), "untied") if part)
        model, cost = model | {"family": "untied", "recipe": recipe}, {}
        if "digest" in model:
            model["digest"] = hashlib.sha256(f"untied {model['digest']}".encode()).hexdigest()
    fields = {
        "version": 1,
        "study": None if point.plain else measured["study"],
        "model": model,
        "cost": cost,
        "schedule": None if schedule == model["schedule"] else schedule,
        "loops": row.get("loops"),
        "task": {
            "name": row["task"],
            "metric": row["metric"],
            "version": str(row["version"]) if "version" in row else None,
            "fingerprint": row.get("fingerprint"),
            "shots": row.get("shots"),
            "split": row.get("split"),
            "prompting": row.get("prompting"),
            "chance": row.get("chance"),
            "higher_is_better": row.get("higher_is_better", True),
        },
        "value": float(row["value"]),
        "stderr": stderr_of(row),
        "n": row["n"],
        "seed": seed,
        "conditions": dict(point.conditions),
        "dtype": measured["model"]["dtype"],
        "device": measured["model"].get("device"),
        "versions": measured.get("versions") or installed(),
        "command": measured["command"] or None,
        "time": measured.get("time") or time,
    }
    return Record.from_fields(fields)


def _described(measured: Measured, schedule: str | None) -> dict[str, Any]:
    """What the record says of its model, or its checkpoint where the record is an older one."""
    if "leaderboard" in measured:
        found: dict[str, Any] = measured["leaderboard"]
        return found
    from ..models.checkpoints import load_config
    from ..tasks.evaluate import model_arguments

    path = measured["cell"]["path"]
    config = load_config(**model_arguments(path))
    model = model_of(config, path).model_dump(mode="json", exclude_defaults=True)
    name, cost = cost_of(config, schedule)
    return {"model": model, "cost": {name: cost.model_dump(mode="json", exclude_defaults=True)}}


def written_at(path: Path) -> str:
    """When a file was written, as records say it."""
    moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return moment.isoformat(timespec="seconds")
