"""Folder of a scan: its identity, and the scores of every unit of work.

A unit is some candidates on some items; its file is written whole and named by everything that
decides its numbers. A race is computed from these files alone, so a killed scan goes on where it
was with the same answer, and several processes share a folder: each takes units that nobody holds.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.files import write_atomically
from ...core.locks import InUseError, locked
from ...core.strict_json import read_object, seal_problem, sealed
from .candidates import Candidate
from .items import Floats
from .measure import Scores

DIGITS = 5  # decimals of a stored margin
WAIT = 0.5  # seconds between two looks at units that other processes hold


@dataclass(frozen=True)
class Unit:
    """Candidates and items of one measurement.

    Args:
        kind: which items: ``validation``, ``test`` or ``control``.
        start, stop: items of each probe.
        candidates: the candidates.
    """

    kind: str
    start: int
    stop: int
    candidates: tuple[Candidate, ...]

    @property
    def id(self) -> str:
        """Name of the unit's file."""
        what = [c.identity for c in self.candidates]
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
        return f"{self.kind}-{self.start:05d}-{self.stop:05d}-{digest}"


@dataclass
class Spent:
    """Cost of the units so far.

    Args:
        seconds: wall-clock time, summed over processes.
        flops: FLOPs.
        layer_tokens, alone: see :class:`Scores`.
    """

    seconds: float = 0.0
    flops: float = 0.0
    layer_tokens: int = 0
    alone: int = 0
    units: set[str] = field(default_factory=set)

    def to_dict(self) -> dict[str, Any]:
        """Return the totals, as results store them."""
        return {
            "seconds": round(self.seconds, 1), "flops": self.flops,
            "layer_tokens": self.layer_tokens, "layer_tokens_alone": self.alone,
        }  # fmt: skip


class ScanFolder:
    """Folder of one scan.

    Args:
        path: the folder; made where there is none.
        identity: what decides the numbers, as JSON-able fields.

    Raises:
        InputError: the folder is of a scan with another identity.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any]) -> None:
        self.path, self.spent = Path(path), Spent()
        file = self.path / "scan.json"
        wanted = sealed({"format": "growloop scan", "version": 1, **identity})
        with locked(self.path / ".lock", False, f"{path} is written", patience=60):
            if not file.is_file():
                write_atomically(file, json.dumps(wanted, indent=1).encode())
        was = read_object(file)
        if seal_problem(was) or was != wanted:
            differing = [name for name in wanted if was.get(name) != wanted[name]]
            changed = ", ".join(name for name in differing if name != "sha256") or "its content"
            raise InputError(f"{path} holds another scan ({changed} differ): give another --out")

    def scores(
        self,
        units: Sequence[Unit],
        measure: Callable[[Unit], Scores],
        flops: Callable[[Scores], float],
        within: Callable[[Unit], bool] = lambda unit: True,
        done: Callable[[Unit], object] = lambda unit: None,
    ) -> list[Scores] | None:
        """Return the scores of units; measure those that no process has measured.

        Args:
            measure: measures a unit.
            flops: FLOPs of a measurement.
            within: whether the budget allows a unit.
            done: called after each unit.

        Returns:
            None where the budget ended before all units were measured.
        """
        found: dict[str, Scores] = {}
        waiting = list(units)
        while waiting:
            held: list[Unit] = []
            for unit in waiting:
                file = self.path / "scores" / f"{unit.id}.json"
                if not file.is_file():
                    if not within(unit):
                        return None
                    if not self._measure(unit, file, measure, flops):
                        held.append(unit)
                        continue
                found[unit.id] = self._read(file, unit)
                done(unit)
            if len(held) == len(waiting):
                time.sleep(WAIT)
            waiting = held
        return [found[unit.id] for unit in units]

    def _measure(
        self,
        unit: Unit,
        file: Path,
        measure: Callable[[Unit], Scores],
        flops: Callable[[Scores], float],
    ) -> bool:
        """Measure a unit and write its file; False where another process holds it."""
        try:
            with locked(file.with_suffix(".lock"), False, f"{file} is measured"):
                if file.is_file():
                    return True
                started = time.perf_counter()
                found = measure(unit)
                content = {
                    "kind": unit.kind, "start": unit.start, "stop": unit.stop,
                    "candidates": [c.name for c in unit.candidates],
                    "seconds": round(time.perf_counter() - started, 3),
                    "flops": flops(found),
                    "layer_tokens": found.layer_tokens, "head_tokens": found.head_tokens,
                    "alone": found.alone,
                    "margins": np.round(found.margins, DIGITS).tolist(),
                    **_stored(found.points),
                }  # fmt: skip
                write_atomically(file, json.dumps(sealed(content)).encode())
        except InUseError:
            return False
        file.with_suffix(".lock").unlink(missing_ok=True)
        return True

    def _read(self, file: Path, unit: Unit) -> Scores:
        """Read the file of a unit, and count its cost once.

        Raises:
            InputError: a file that is damaged.
        """
        content = read_object(file, margins=list, correct=list, seconds=float, flops=float,
                              layer_tokens=int, head_tokens=int, alone=int)  # fmt: skip
        if seal_problem(content):
            raise InputError(f"{file} is damaged: move it away to measure it again")
        if unit.id not in self.spent.units:
            self.spent.units.add(unit.id)
            self.spent.seconds += content["seconds"]
            self.spent.flops += content["flops"]
            self.spent.layer_tokens += content["layer_tokens"]
            self.spent.alone += content["alone"]
        return Scores(
            np.array(content["margins"]),
            _points(content),
            content["layer_tokens"],
            content["head_tokens"],
            content["alone"],
        )

    def write(self, name: str, content: bytes) -> Path:
        """Write a result file into the folder."""
        write_atomically(self.path / name, content, force=True)
        return self.path / name


def _stored(points: Floats) -> dict[str, Any]:
    """Return points as fields of a unit: a digit an item where all are right or wrong."""
    if np.isin(points, (0, 1)).all():
        rows = points.astype(int).tolist()
        return {"correct": ["|".join("".join(map(str, probe)) for probe in row) for row in rows]}
    return {"correct": [], "points": np.round(points, DIGITS).tolist()}


def _points(content: dict[str, Any]) -> Floats:
    """Read what :func:`_stored` returned."""
    if "points" in content:
        return np.array(content["points"], dtype=np.float64)
    rows = [[list(map(int, probe)) for probe in row.split("|")] for row in content["correct"]]
    return np.array(rows, dtype=np.float64)
