"""Runs the cells of a study that have no record yet.

Cells can run in any order, on any number of machines that share a folder, and a killed study goes
on where it was.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..models.training.data.shards import write_whole
from ..tasks.catalog import resolve
from .checkpoints import Loaded, check_device
from .describe import described, versions
from .model_identity import changed, is_known, weights
from .records import read_record, record_path
from .runs import RunIdentity, as_metadata
from .study import Cell, Record, Study


def run(
    study: Study,
    cells: Sequence[Cell],
    options: Any,
    out: str | Path,
    command: str = "",
    say: Callable[[str], object] = lambda text: None,
    dtype: str = "float32",
    device: str | None = None,
    bars: bool = False,
) -> list[Record]:
    """Measure the cells that have no record yet; the records of all.

    Args:
        command: kept in the records.
        say: told which cell is next, and of what takes long.
        dtype, device: of the models.
        bars: whether bars on standard error show how far a cell is.

    Raises:
        InputError: a record there is of another model, precision or version of its task; several
            processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "a study runs in one process: for several GPUs give each a --cell of its own"
        )
    check_device(device)
    loaded, found = Loaded(dtype, device, say, bars), dict[str, Record]()
    waiting: list[Cell] = []
    for cell in cells:
        path = record_path(cell, out)
        if path.is_file():
            found[cell.id] = _checked(path, cell, dtype)
        else:
            waiting.append(cell)
    while waiting:
        # others that share the folder may have measured some meanwhile
        path = record_path(waiting[0], out)
        if path.is_file():
            cell = waiting.pop(0)
            found[cell.id] = _checked(path, cell, dtype)
            continue
        part = _together(study, waiting)
        del waiting[: len(part)]
        for number, cell in enumerate(part, start=len(found) + 1):
            say(f"{number} of {len(cells)}: {cell.id}")
        started = time.perf_counter()
        try:
            if study.together is not None:
                measured = study.together.measure(part, options, loaded, Path(out))
            else:
                measured = [study.measure(part[0], options, loaded, Path(out))]
        finally:
            loaded.close()
        seconds = round((time.perf_counter() - started) / len(part), 1)
        for cell, values in zip(part, measured, strict=True):
            of = values.get("checkpoint", cell.path)  # another one if the study trains
            finished = values.pop("finished", ())
            loaded.load(of)
            record = {
                "format": "growloop study",
                "version": 1,
                "growloop": version("growloop"),
                "study": study.name,
                "cell": {"id": cell.id, **asdict(cell)},
                "model": loaded.about(),
                "weights": weights(cell.path),
                "training": as_metadata(RunIdentity.read(cell.path)),
                "leaderboard": described(of, loaded.model, values["rows"]),
                "versions": versions(),
                "command": command,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": seconds,
                **values,
            }
            path = record_path(cell, out)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(record, indent=1).encode())
            found[cell.id] = record
            for folder in finished:
                _remove(folder)
    _check_precision(found.values())
    for record in found.values():
        record["data"] |= _drawn(options)
    return [found[cell.id] for cell in cells]


def _check_precision(records: Iterable[Record]) -> None:
    """Refuse numbers of a model in two precisions: one table cannot show both."""
    dtypes: dict[str, str] = {}
    for record in records:
        name, dtype = record["cell"]["model"], record["model"]["dtype"]
        if dtypes.setdefault(name, dtype) != dtype:
            raise InputError(
                f"what was measured of {name} is in {dtypes[name]} and in {dtype}: give --dtype "
                "and another --out"
            )


def _remove(folder: Path) -> None:
    """A folder, so that a kill on the way leaves nothing that looks whole."""
    passing = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(passing, ignore_errors=True)
    folder.rename(passing)
    shutil.rmtree(passing, ignore_errors=True)


def _drawn(options: Any) -> dict[str, Any]:
    """What the chart is to show now, whatever it was when the cells were measured."""
    names = [known.name for known in fields(options) if known.metadata["drawn"]]
    shown: dict[str, Any] = json.loads(json.dumps({name: getattr(options, name) for name in names}))
    return shown


def _together(study: Study, waiting: Sequence[Cell]) -> list[Cell]:
    """The first cell that waits, and those that are measured with it."""
    if (how := study.together) is None:
        return [waiting[0]]

    def key(cell: Cell) -> Hashable:
        return cell.path, how.alike(cell)

    alike = itertools.takewhile(lambda cell: key(cell) == key(waiting[0]), waiting)
    return list(itertools.islice(alike, how.most))


def _checked(path: Path, cell: Cell, dtype: str) -> Record:
    """The record that there is of a cell, if it is of this model, precision and tasks."""
    record = read_record(path)
    for row in record["rows"]:
        task = resolve(row["task"]) if "version" in row else None
        if task is not None and task.version != row["version"]:
            raise InputError(
                f"{path} is of version {row['version']} of {row['task']}, which is {task.version} "
                "now: give another --out"
            )
    was = record["cell"]["path"], record["model"]["dtype"]
    known = record.get("weights") is not None and is_known(cell.path)
    place = was[0] if known else cell.path  # a model that is known by its content may have moved
    if was != (place, dtype if dtype != "auto" else was[1]):
        raise InputError(
            f"{path} is of {was[0]} in {was[1]}, not of {cell.path} in {dtype}: give another --out"
        )
    if changed(cell.path, record.get("weights")):
        raise InputError(
            f"{path} is of another model than {cell.path} holds now: give another --out"
        )
    record.setdefault("training", as_metadata(RunIdentity.read(cell.path)))
    return record
