"""The lines of the leaderboard as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from .entries import Entry, prompting
from .interval_kinds import over

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet compute a text


def line(entry: Entry) -> dict[str, Any]:
    """One entry, flat."""
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
        "interval_over": over(entry),
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


def as_json(found: Iterable[Entry]) -> str:
    """A list of objects."""
    return json.dumps([line(entry) for entry in found], indent=1, allow_nan=False) + "\n"


def as_csv(found: Iterable[Entry]) -> str:
    """A table with a head; texts that a spreadsheet would compute begin with an apostrophe."""
    out = io.StringIO()
    rows = [line(entry) for entry in found]
    names = list(rows[0]) if rows else ["model", "task", "value"]
    writer = csv.writer(out)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
