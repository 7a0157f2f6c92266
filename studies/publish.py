"""Publish records of studies as records of the leaderboard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..leaderboard import Record
from . import leaderboard_rows as select
from .catalog import STUDIES
from .describe import cost_of, model_of, package_versions
from .leaderboard_rows import LeaderboardRow, RowSelector, stderr_of
from .measure.controls import split_controls
from .records import StudyRecord

SELECTORS: Mapping[str, RowSelector] = {
    # study: selector of its rows
    "trade-offs": select.accuracy_rows(study=False, plain=True),
    "inference-scaling": select.chosen_block_rows,
    "in-context-scaling": select.in_context_rows,
    "sample-efficiency": select.fine_tuning_rows,
    "cooldown": select.accuracy_rows(study=False, plain=True),
    "retrofit": select.accuracy_rows("trained", "block", "times", plain=True),
    "swaps": select.swap_rows,
    "depth": select.depth_rows,
    "contributions": select.periodicity_rows,
    "local-effects": select.local_effect_rows,
    "loops-against-depth": select.accuracy_rows(),
    "loop-extrapolation": select.loop_rows,
    "recurrence-equivalence": select.law_rows,
    "dynamics": select.dynamics_rows,
    "weight-similarity": select.similarity_rows,
    "adaptive-exit": select.exit_rows,
    "scan": select.scan_rows,
}
NO_ROWS_REASON = {
    # study: why a model may have no row
    "swaps": "no two blocks of this size are neighbours in the middle half of its steps",
    "dynamics": "its loop runs fewer than three times",
    "contributions": "it has too few steps to see its block recur",
}


def leaderboard_records(records: Sequence[StudyRecord], time: str | None = None) -> list[Record]:
    """Make records of the leaderboard from records of studies.

    :func:`missing_reasons` lists what is left out.

    Args:
        records: records of :func:`.runner.run_study`. A study that chooses a block needs the
            records of all its alternatives.
        time: time of measurement in ISO 8601 with a time zone, for records that have none.
    """
    records, _ = split_controls(records)
    published = [
        _record(row, time)
        for name in sorted({record.study for record in records})
        for row in _selector(name)([record for record in records if record.study == name])
    ]
    return list({record.cell: record for record in published}.values())  # cells may share a number


def _selector(study: str) -> RowSelector:
    """Return the selector of a study's rows; of a plug-in's as the study says."""
    if study in SELECTORS:
        return SELECTORS[study]
    columns = STUDIES[study].leaderboard if study in STUDIES else None
    return (lambda records: []) if columns is None else select.accuracy_rows(*columns)


def missing_reasons(records: Sequence[StudyRecord]) -> list[str]:
    """List, one sentence each, which studies have nothing or too little for the leaderboard."""
    reasons = []
    for name, model in dict.fromkeys((record.study, record.model_name) for record in records):
        some = [r for r in records if (r.study, r.model_name) == (name, model)]
        rows = _selector(name)(some)
        if not rows:
            reason = f": {NO_ROWS_REASON[name]}" if name in NO_ROWS_REASON else ""
            reasons.append(f"{name} has no result of {model} for the leaderboard{reason}")
        partial = {
            (row.row.task, row.conditions["chosen"])
            for row in rows
            if isinstance(row.conditions.get("chosen"), str)
        }
        reasons += [
            f"{name} has measured {among.removeprefix('of ')} of {model} for {task}: "
            "claims use its choice only when all are measured"
            for task, among in sorted(partial)
        ]
    return reasons


def read_records(out: str | Path) -> list[StudyRecord]:
    """Read all records of studies below the folder ``--out``.

    Raises:
        InputError: there are none, or a file is not a record.
    """
    files = sorted((Path(out) / "records").glob("*/*.json"))
    if not files:
        raise InputError(f"there are no records of studies below {out}: give the --out of a study")
    return [StudyRecord.read(file) for file in files]


def _record(published: LeaderboardRow, time: str | None) -> Record:
    measured, row = published.record, published.row
    facts = _facts(measured, row.schedule)
    model, seed = facts["model"], row.get("seed", measured.cell.options.get("seed"))
    if "training_seed" in row and (run := measured.run) is not None:
        # another order of the data in the cooldown of a checkpoint is not another run
        model, seed = model | {"seed": run.seed}, seed + row["training_seed"] - run.seed
        model.pop("digest", None)  # the digest of one of the orders
    schedule = row.schedule or model["schedule"]
    cost = facts["cost"][schedule]
    if published.untied:  # costs of the tied model do not apply
        recipe = ", ".join(part for part in (model.get("recipe"), "untied") if part)
        model, cost = model | {"family": "untied", "recipe": recipe}, {}
        if "digest" in model:
            model["digest"] = hashlib.sha256(f"untied {model['digest']}".encode()).hexdigest()
    fields = {
        "version": 1,
        "study": None if published.plain else measured.study,
        "model": model,
        "cost": cost,
        "schedule": None if schedule == model["schedule"] else schedule,
        "loops": row.get("loops"),
        "task": {
            "name": row.task,
            "metric": row.metric,
            "version": str(row.version) if "version" in row else None,
            "fingerprint": row.fingerprint,
            "shots": row.shots,
            "split": row.split,
            "prompting": row.prompting,
            "chance": row.chance,
            "higher_is_better": row.get("higher_is_better", True),
        },
        "value": float(row.value),
        "stderr": stderr_of(row),
        "n": row.n,
        "seed": seed,
        "conditions": dict(published.conditions),
        "dtype": measured.model.dtype,
        "device": measured.model.device,
        "versions": measured.versions or package_versions(),
        "command": measured.command or None,
        "time": measured.time or time,
    }
    return Record.from_fields(fields)


def _facts(measured: StudyRecord, schedule: str | None) -> Mapping[str, Any]:
    """Return description and costs of a record's model; of older records from its checkpoint."""
    if measured.leaderboard is not None:
        return measured.leaderboard
    from ..models.checkpoints import load_config
    from ..tasks.evaluate import model_arguments

    path = measured.cell.path
    config = load_config(**model_arguments(path))
    model = model_of(config, path).model_dump(mode="json", exclude_defaults=True)
    name, cost = cost_of(config, schedule)
    return {"model": model, "cost": {name: cost.model_dump(mode="json", exclude_defaults=True)}}


def modified_at(path: Path) -> str:
    """Return when a file was last written, in ISO 8601 as records have it."""
    moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return moment.isoformat(timespec="seconds")
