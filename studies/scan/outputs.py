"""Files of a finished scan: table, notations of the winner, the winner as a checkpoint, records."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.rys import write_rys
from ...core.statistics import ends, share_interval
from ...core.strict_json import sealed
from ...models import Schedule, checkpoints, loop
from ...models.looping.mergekit import write_mergekit
from ...tasks.evaluate import model_arguments
from ..cells import StudyCell
from ..checkpoints import ModelLoader
from ..describe import leaderboard_facts, package_versions
from ..model_identity import weights
from ..records import Row, StudyRecord, record_path
from ..runs import RunIdentity
from .result import ScanResult

STUDY = "scan"


def table(result: ScanResult, most: int = 10) -> list[dict[str, Any]]:
    """Return the best rows for a terminal, the model as it is last.

    Args:
        most: number of candidates.
    """
    rows = sorted(result.rows, key=lambda row: -row["score_gain"])
    shown = [row for row in rows if row["edit"] != "none"][:most]
    shown += [row for row in rows if row["edit"] == "none"]
    return [
        {
            "candidate": row["name"],
            "gain": row["accuracy_gain"],
            "margin gain": row["margin_gain"],
            "accuracy": row["accuracy"],
            "items": row["items"],
            "better": "yes" if row["better"] else "",
            "dropped": "" if row["alive"] else "yes",
            "extra FLOPs": f"{row['extra_flops']:+.0%}",
        }
        for row in shown
    ]


def write_table(result: ScanResult, folder: Path) -> Path:
    """Write all rows as ``table.csv``."""
    text = io.StringIO()
    names = [name for name in result.rows[0] if name != "blocks"]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.rows)
    write_atomically(folder / "table.csv", text.getvalue().encode())
    return folder / "table.csv"


def notations(result: ScanResult) -> dict[str, str]:
    """Return the winner's schedule in growloop's, RYS's and mergekit's notation, where it has one.

    RYS and mergekit know stacked layers alone: a repeat that is damped, in sub-steps or with shared
    keys and values has none.
    """
    chosen, fields = result.chosen, result.fields
    found = {"schedule": str(chosen.schedule)}
    if not chosen.stacks:
        return found
    depth = max(chosen.schedule.needs, _layers(result))
    with contextlib.suppress(InputError):  # skips and swaps have none
        found["rys"] = write_rys(chosen.schedule, depth)
    found["mergekit"] = write_mergekit(chosen.schedule, str(fields["path"]), str(fields["dtype"]))
    return found


def write_notations(result: ScanResult, folder: Path) -> None:
    """Write ``best.json`` with the notations, and ``best-mergekit.yml``."""
    found = notations(result)
    write_atomically(folder / "best.json", json.dumps(found, indent=1).encode())
    if "mergekit" in found:
        write_atomically(folder / "best-mergekit.yml", found["mergekit"].encode())


def save_best(result: ScanResult, out: str, dtype: str = "auto", overwrite: bool = False) -> Path:
    """Write the winner as a looped checkpoint.

    Args:
        dtype: dtype of the weights.
        overwrite: replace a checkpoint there.

    Raises:
        InputError: no edit is better than the model as it is.
    """
    chosen = result.chosen
    if chosen.edit == "none":
        raise InputError("no edit is better than the model as it is: there is nothing to save")
    where = model_arguments(str(result.fields["path"]))
    model = checkpoints.load(dtype=dtype, **where)
    loop(model, chosen.schedule, recurrence=chosen.recurrence)
    return Path(checkpoints.save(model, checkpoints.load_tokenizer(**where), out, overwrite))


def write_record(result: ScanResult, loader: ModelLoader, out: str | Path) -> StudyRecord | None:
    """Write the study record of a scan's test rows; None where no edit is better.

    Args:
        loader: loader that has the scanned model in memory.
        out: folder of records.
    """
    fields, chosen = result.fields, result.chosen
    if "test" not in fields or chosen.edit == "none":
        return None
    path = str(fields["path"])
    params = {"candidate": chosen.name, "probes": "+".join(p["task"] for p in fields["probes"])}
    decided = {k: v for k, v in fields["options"].items() if k not in ("budget", "guards")}
    cell = StudyCell(STUDY, str(fields["model"]), path, params, decided)
    model = loader.load(path)
    record = StudyRecord(
        cell=cell,
        id=cell.id,
        model=loader.facts(),
        rows=tuple(rows_of_test(fields, str(chosen.schedule))),
        data={"verdict": result.verdict, "chosen": chosen.name, "applied": chosen.applied,
              "candidates": fields["candidates"], "complete": fields["complete"]},
        command=str(fields["command"]),
        growloop=version("growloop"),
        weights=weights(path),
        run=RunIdentity.read(path),
        leaderboard=leaderboard_facts(path, model, [str(chosen.schedule)]),
        versions=package_versions(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=fields["cost"]["seconds"],
    )  # fmt: skip
    content = json.dumps(sealed(record.to_json()), indent=1).encode()
    write_atomically(record_path(cell, out), content)
    return record


def rows_of_test(fields: Mapping[str, Any], schedule: str) -> list[Row]:
    """Return a row of the model as it is and one of the winner for each test probe."""
    first = fields["test"][0]  # earlier results have no points
    answers: dict[str, Sequence[Any]] = {**first["answers"], **first.get("points", {})}
    rows = []
    for about in fields["test_probes"]:
        both = answers.get(about["task"]) or next(
            found for name, found in answers.items() if Path(name).stem == about["task"]
        )
        for edit, found in zip((False, True), reversed(both), strict=True):
            points = np.array([float(point) for point in found])
            mean, count = float(points.mean()), len(points)
            error = float(points.var() / max(1, count - 1)) ** 0.5
            each = {"answers": found} if isinstance(found, str) else {"each": found}
            rows.append(
                Row.make(
                    **{"metric": "acc", **about, "n": count},
                    value=mean,
                    stderr=error,
                    **ends(share_interval(mean, count, error or None)),
                    **each,
                    schedule=schedule if edit else str(fields["schedule"]),
                    edited=edit,
                )
            )
    return rows


def _layers(result: ScanResult) -> int:
    """Return the number of the model's layers."""
    return Schedule.parse(str(result.fields["schedule"]), stored=True).needs
