"""What all studies share: a plan of cells, records of those that are done, a table and a chart.

A cell is measured once: its record is one JSON file, written whole, named after everything that
decides the numbers. So cells can run in any order, on any number of machines that share a folder,
and a killed study goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from ..core.errors import InputError
from ..core.files import write_atomically
from ..core.identity import listed, task_by_content
from ..core.strict_json import SEAL, fields_problem, read_object, seal_problem, sealed, short
from ..tasks.catalog import resolve
from . import seeds
from .checkpoints import Loaded, Model, check_device
from .describe import described, versions
from .model_identity import changed, is_known, weights

Record = dict[str, Any]
Made = TypeVar("Made")
Table = list[dict[str, Any]]
"""Rows of a result table: column to value."""
FILES = {"text", "lens", "lens_text"}
"""Options that are files."""


FIELDS: dict[str, Any] = {
    "format": str, "study": str, "cell": dict, "model": dict, "rows": list, "data": dict,
    "command": str, "weights": (dict, type(None)), "training": (dict, type(None)),
    "leaderboard": (dict, type(None)), "time": (str, type(None)),
}  # fmt: skip
NAMED: dict[str, Any] = {"id": str, "model": str, "path": str, "params": dict, "options": dict}
"""What a record has, and what of its cell."""


def option(
    default: Any, about: str, later: bool = False, drawn: bool = False, before: Any = None
) -> Any:
    """A field of a study's options, with what ``growloop study show`` says of it.

    Args:
        later: there are records of the time before it, which are of its default.
        drawn: it decides no number, but what the chart shows of those that there are, or what is
            kept beside them.
        before: value that records of the time before the option were measured with, where that is
            not its default: those are read for this value alone.
    """
    unsaid = (default,) if later else () if before is None else (before,)
    return field(default=default, metadata={"about": about, "unsaid": unsaid, "drawn": drawn})


@dataclass(frozen=True)
class Cell:
    """One measurement: a model and what is asked of it.

    Args:
        study: its name.
        model: the name of the model.
        path: where it is.
        params: what tells this cell from the others of the model.
        options: of the study, as far as they decide the numbers.
    """

    study: str
    model: str
    path: str
    params: dict[str, Any]
    options: dict[str, Any]

    @cached_property
    def id(self) -> str:
        """Stable name: the same question has the same in any run.

        Files in the names of tasks (word lists) count by their content.
        """
        asked = {
            "study": self.study,
            "params": _by_content(self.params),
            "options": _by_content(self.options),
        }
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        said = "-".join(re.sub(r"[^\w.=-]", "_", str(value)) for value in self.params.values())
        return "-".join(part for part in (self.model, said[:80], digest[:8]) if part)


@dataclass(frozen=True)
class Together:
    """How a study measures several cells in one pass, because they share most of the work.

    Args:
        alike: cells of one model for which this is equal go together.
        most: so many of them: what is killed is lost.
        measure: the values of each.
    """

    alike: Callable[[Cell], Hashable]
    most: int
    measure: Callable[[Sequence[Cell], Any, Loaded, Path], list[dict[str, Any]]]


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        name: as typed.
        asks: the question, in a sentence.
        figure: where it is in the paper.
        cost: an estimate in forward passes.
        options: a frozen dataclass of them.
        plan: the cells of models under options; refuses what cannot be done.
        measure: the values of a cell: ``{"rows": results, "data": what charts need}``, and the
            ``checkpoint`` they are of where that is not the cell's; ``finished`` are folders that
            nobody needs once the record is written.
        table: records as rows.
        chart: records as an Altair chart.
        together: measures several cells at once, where that is cheaper.
        compares: fields of rows, or parameters of cells (``cell.NAME`` where a row has the name
            too), that tell the numbers of a model apart; models are compared where they are alike.
            None for a study that keeps no answers.
        variant: a field of rows and its usual value; with another one the model is another, which
            is compared too.
        example: options that a call cannot do without.
        over: fields that tell several answers to the same items apart, which are averaged.
    """

    name: str
    asks: str
    figure: str
    cost: str
    options: type[Any]
    plan: Callable[[Sequence[Model], Any], list[Cell]]
    measure: Callable[[Cell, Any, Loaded, Path], dict[str, Any]]
    table: Callable[[Sequence[Record]], Table]
    chart: Callable[[Sequence[Record]], Any]
    together: Together | None = None
    compares: tuple[str, ...] | None = None
    over: tuple[str, ...] = ()
    variant: tuple[str, str] | None = None
    example: str = ""


def settled(options: Any, *without: str) -> dict[str, Any]:
    """Options as a record keeps them, without those that are in the cell's parameters.

    Files are named by their content: another of the same name makes other cells. An option that
    came later is kept where it is not the value that was usual before: what was measured then
    stays measured.
    """
    kept = asdict(options)
    for known in fields(options):
        unsaid = kept[known.name] in known.metadata["unsaid"]
        if unsaid or known.metadata["drawn"] or known.name in without:
            del kept[known.name]
    for name in FILES & kept.keys():
        if kept[name] is not None and (path := Path(kept[name])).is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            kept[name] = f"{path.name}@{digest[:12]}"
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


def _by_content(value: Any) -> Any:
    """Parameters or options with the files in them named by content."""
    if isinstance(value, dict):
        return {name: _by_content(inside) for name, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_by_content(inside) for inside in value]
    return task_by_content(value) if isinstance(value, str) else value


def record_path(cell: Cell, out: str | Path) -> Path:
    """Where a cell's record is."""
    return Path(out) / "records" / cell.study / f"{cell.id}.json"


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
                "training": seeds.about(seeds.Training.read(cell.path)),
                "leaderboard": described(of, loaded.model, values["rows"]),
                "versions": versions(),
                "command": command,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": seconds,
                **values,
            }
            record = sealed(record)
            path = record_path(cell, out)
            write_atomically(path, json.dumps(record, indent=1).encode())
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
    try:
        return _agreeing(record, path, cell, dtype)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no record of a study: move it away") from error


def _agreeing(record: Record, path: Path, cell: Cell, dtype: str) -> Record:
    """The record, if it is of this model, precision and tasks."""
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
    record.setdefault("training", seeds.about(seeds.Training.read(cell.path)))
    return record


def read_record(path: Path) -> Record:
    """A record of a cell.

    What was measured is not measured again because its file is damaged: a record that is not what
    was written is refused, so that nobody reads other numbers than there were.

    Raises:
        InputError: a file that is none, or that was changed; the message says to move it away.
    """
    try:
        found = read_object(path, **FIELDS)
    except ValueError as error:
        told = short(str(error).removeprefix(f"{path} is damaged: "))
        raise InputError(f"{path} is no record of a study ({told}): move it away") from error
    reason: str | None
    if found["format"] != "growloop study":
        reason = f"its format is {short(found['format'])}"
    elif not all(isinstance(row, dict) for row in found["rows"]):
        reason = "a row is no object"
    elif wrong := fields_problem(found["cell"], **NAMED):
        reason = f"cell.{wrong}"
    elif wrong := fields_problem(found["model"], dtype=str, schedule=str):
        reason = f"model.{wrong}"
    else:
        reason = seal_problem(found)
    if reason:
        raise InputError(f"{path} is no record of a study ({reason}): move it away")
    return found


def made_of(records: Sequence[Record], make: Callable[[Sequence[Record]], Made]) -> Made:
    """A table, a chart, points of records; damage of records without a seal as one sentence.

    Args:
        make: a function of all records.

    Raises:
        InputError: it fails, and there are records of the time before they were sealed.
    """
    try:
        return make(records)
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        if getattr(error, "is_for_the_user", False):
            raise
        unsealed = [record["cell"]["id"] for record in records if SEAL not in record]
        if not unsealed:
            raise
        raise InputError(
            f"a record of {listed(unsealed)} is damaged ({type(error).__name__}: "
            f"{short(str(error))}): move it away to measure it again"
        ) from error
