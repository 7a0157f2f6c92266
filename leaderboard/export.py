"""Export the entries of the leaderboard as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from .entries import LeaderboardEntry, prompting
from .interval_basis import interval_basis

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of formulas in spreadsheets


def entry_fields(entry: LeaderboardEntry) -> dict[str, Any]:
    """Return an entry as flat fields: column -> value."""
    model, task, record = entry.model, entry.task, entry.first
    low, high = entry.interval or (None, None)
    return {
        "model": model.name,
        "label": entry.label,
        "digest": model.digest,
        "size": model.size,
        "family": model.family,
        "recipe": model.recipe,
        "schedule": record.schedule or model.schedule,
        "unique_layers": model.unique_layers,
        "effective_layers": entry.layers_run,
        "unique_parameters": record.cost.unique_parameters,
        "effective_parameters": record.cost.effective_parameters,
        "inference_flops_per_token": record.cost.inference_flops,
        "training_flops": model.training_flops,
        "training_tokens": model.training_tokens,
        "task": task.name,
        "task_version": task.version,
        "fingerprint": task.fingerprint,
        "shots": task.shots,
        "split": task.split,
        "prompting": prompting(task),
        "metric": task.metric,
        "value": entry.value,
        "low": low,
        "high": high,
        "interval_over": interval_basis(entry),
        "chance": task.chance,
        "chance_centred": entry.centred,
        "n": entry.n,
        "seeds": entry.seeds,
        "kind": record.kind,
        "study": record.study,
        "conditions": json.dumps(record.conditions) if record.conditions else None,
        "dtype": record.dtype,
        "settings": json.dumps(record.settings) if record.settings else None,
        "source": record.source,
        "records": " ".join(r.id[:16] for r in entry.records),
    }


def as_json(entries: Iterable[LeaderboardEntry]) -> str:
    """Return entries as a JSON list of objects."""
    return json.dumps([entry_fields(entry) for entry in entries], indent=1, allow_nan=False) + "\n"


def as_csv(entries: Iterable[LeaderboardEntry]) -> str:
    """Return entries as CSV with a header; formulas are disarmed by a leading apostrophe."""
    out = io.StringIO()
    rows = [entry_fields(entry) for entry in entries]
    names = list(rows[0]) if rows else ["model", "task", "value"]
    writer = csv.writer(out)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
