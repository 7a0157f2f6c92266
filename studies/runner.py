"""Run the cells of a study that have no record yet.

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
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.files import write_atomically
from ..core.strict_json import sealed
from ..tasks.catalog import resolve
from .catalog import STUDIES
from .cells import StudyCell
from .checkpoints import ModelLoader, check_device
from .describe import leaderboard_facts, package_versions
from .model_identity import changed, is_known, weights
from .records import StudyRecord, record_path
from .runs import RunIdentity
from .study import Measurement, Study


def run_study(
    study: Study,
    cells: Sequence[StudyCell],
    options: Any,
    out: str | Path,
    command: str = "",
    say: Callable[[str], object] = lambda text: None,
    dtype: str = "float32",
    device: str | None = None,
    bars: bool = False,
) -> list[StudyRecord]:
    """Measure the cells that have no record yet, and return the records of all cells.

    Args:
        out: folder of the records.
        command: command line, stored in the records.
        say: receives a message before each cell and slow part.
        dtype, device: what models are loaded to.
        bars: whether progress bars are shown on standard error.

    Raises:
        InputError: an existing record is of another model, precision or version of its task;
            several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "a study runs in one process: for several GPUs give each a --cell of its own"
        )
    check_device(device)
    loader, records = ModelLoader(dtype, device, say, bars), dict[str, StudyRecord]()
    waiting: list[StudyCell] = []
    for cell in cells:
        path = record_path(cell, out)
        if path.is_file():
            records[cell.id] = _read_checked(path, cell, dtype)
        else:
            waiting.append(cell)
    while waiting:
        # other processes that share the folder may have measured some meanwhile
        path = record_path(waiting[0], out)
        if path.is_file():
            cell = waiting.pop(0)
            records[cell.id] = _read_checked(path, cell, dtype)
            continue
        batch = _next_batch(study, waiting)
        del waiting[: len(batch)]
        for number, cell in enumerate(batch, start=len(records) + 1):
            say(f"{number} of {len(cells)}: {cell.id}")
        started = time.perf_counter()
        try:
            if study.shared_pass is not None:
                results = study.shared_pass.measure(batch, options, loader, Path(out))
            else:
                results = [study.measure(batch[0], options, loader, Path(out))]
        finally:
            loader.close()
        seconds = round((time.perf_counter() - started) / len(batch), 1)
        for cell, result in zip(batch, results, strict=True):
            record = _record(cell, result, loader, command, seconds)
            content = json.dumps(sealed(record.to_json()), indent=1)
            write_atomically(record_path(cell, out), content.encode())
            records[cell.id] = replace(record, sealed=True)
            for folder in result.temporary:
                _remove(folder)
    _check_precision(records.values())
    stored = _chart_options(options)
    return [replace(record, data={**record.data, **stored})
            for record in (records[cell.id] for cell in cells)]  # fmt: skip


def _record(
    cell: StudyCell, result: Measurement, loader: ModelLoader, command: str, seconds: float
) -> StudyRecord:
    """Make the record of a measurement; loads the measured model for its description."""
    checkpoint = result.checkpoint or cell.path
    model = loader.load(checkpoint)
    schedules = [row.schedule for row in result.rows if row.schedule is not None]
    return StudyRecord(
        cell=cell,
        id=cell.id,
        model=loader.facts(),
        rows=tuple(result.rows),
        data=result.data,
        command=command,
        growloop=version("growloop"),
        weights=weights(cell.path),
        run=RunIdentity.read(cell.path),
        leaderboard=leaderboard_facts(checkpoint, model, schedules),
        versions=package_versions(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        checkpoint=result.checkpoint,
    )


def _check_precision(records: Iterable[StudyRecord]) -> None:
    """Refuse records of a model in two precisions: one table cannot show both."""
    dtypes: dict[str, str] = {}
    for record in records:
        name, dtype = record.model_name, record.model.dtype
        if dtypes.setdefault(name, dtype) != dtype:
            raise InputError(
                f"the records of {name} are in {dtypes[name]} and in {dtype}: give --dtype "
                "and another --out"
            )


def _remove(folder: Path) -> None:
    """Remove a folder; it is renamed first, so that a kill leaves nothing that looks whole."""
    renamed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(renamed, ignore_errors=True)
    folder.rename(renamed)
    shutil.rmtree(renamed, ignore_errors=True)


def _chart_options(options: Any) -> dict[str, Any]:
    """Return options of the chart as they are now, whatever they were at the measurement."""
    names = [known.name for known in fields(options) if known.metadata["drawn"]]
    stored: dict[str, Any] = json.loads(
        json.dumps({name: getattr(options, name) for name in names})
    )
    return stored


def _next_batch(study: Study, waiting: Sequence[StudyCell]) -> list[StudyCell]:
    """Return the first waiting cell and those that share its pass."""
    if (shared := study.shared_pass) is None:
        return [waiting[0]]

    def key(cell: StudyCell) -> Hashable:
        return cell.path, shared.key(cell)

    same = itertools.takewhile(lambda cell: key(cell) == key(waiting[0]), waiting)
    return list(itertools.islice(same, shared.max_cells))


def _read_checked(path: Path, cell: StudyCell, dtype: str) -> StudyRecord:
    """Read the record of a cell.

    Raises:
        InputError: it is of another model, precision, version of its task or code of its study.
    """
    record = StudyRecord.read(path)
    for row in record.rows:
        task = resolve(row.task) if "version" in row else None
        if task is not None and task.version != row.version:
            raise InputError(
                f"{path} is of version {row.version} of {row.task}, which is {task.version} "
                "now: give another --out"
            )
    recorded = record.cell.path, record.model.dtype
    by_content = record.weights is not None and is_known(cell.path)
    place = recorded[0] if by_content else cell.path  # a model known by its content may have moved
    if recorded != (place, dtype if dtype != "auto" else recorded[1]):
        raise InputError(
            f"{path} is of {recorded[0]} in {recorded[1]}, not of {cell.path} in {dtype}: "
            "give another --out"
        )
    origin = STUDIES.origin(cell.study) if cell.study in STUDIES else None
    if origin is not None and record.versions.get(origin.name) != origin.identity:
        raise InputError(
            f"{path} was measured by other code than {origin} has now: give another --out"
        )
    if changed(cell.path, record.weights):
        raise InputError(
            f"{path} was measured on another model than {cell.path} holds now: give another --out"
        )
    if record.run is None:  # records from before runs were noted
        record = replace(record, run=RunIdentity.read(cell.path))
    return record
