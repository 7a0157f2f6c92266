"""Checkpoints of a run: whole or not at all, checksummed, the newest good one is found.

A checkpoint is an ordinary Hugging Face folder (so it can be evaluated as it is) with the state of
training beside the model: ``optimizers/`` (per parameter name), ``training.json``, and
``manifest.json``, a checksum of every file. It is written under another name and renamed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.files import replacing, write_atomically
from ...core.identity import sha256
from ...core.loading import MANIFEST as MANIFEST
from ...core.loading import checksum_problem
from ...core.strict_json import FileError, read_object

STATE = "training.json"
NAME = re.compile(r"step-(\d{9})")


def write(
    runs: Path,
    step: int,
    fill: Callable[[Path], None],
    keep: int,
    milestone: bool = False,
    best: int | None = None,
) -> Path:
    """Write the checkpoint of a step, and drop old ones.

    Args:
        runs: folder of the run.
        step: steps done.
        fill: writes the files into a folder.
        keep: newest checkpoints kept beside milestones.
        milestone: keep this one for good.
        best: step of a checkpoint that is kept for now.

    Raises:
        OSError: a file cannot be written; checkpoints that are there stay.
    """
    final = runs / f"step-{step:09d}"
    with replacing(final, folder=True) as part:  # there may be one, after going back
        fill(part)
        files = sorted(path for path in part.rglob("*") if path.is_file())
        sums = {path.relative_to(part).as_posix(): sha256(path) for path in files}
        content = {"step": step, "milestone": milestone, "sha256": sums}
        (part / MANIFEST).write_text(json.dumps(content, indent=2))
    _drop_old(runs, keep, best)
    return final


def newest(runs: Path, warn: Callable[[str], object]) -> tuple[int, Path] | None:
    """The newest checkpoint that is whole; ``warn`` is told of damaged ones before it."""
    for step, path in sorted(_all(runs), reverse=True):
        wrong = problem(path)
        if wrong is None:
            return step, path
        warn(f"checkpoint {path.name} is damaged ({wrong}): using the one before")
    return None


def problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    if wrong := checksum_problem(path):
        return wrong
    try:
        content = read_object(path / MANIFEST, step=int, milestone=bool, sha256=dict)
    except (OSError, FileError):
        return f"{MANIFEST} cannot be read"
    if (named := NAME.fullmatch(path.name)) and content["step"] != int(named[1]):
        return f"{MANIFEST} is of step {content['step']}"
    if STATE not in content["sha256"]:
        return f"{MANIFEST} does not name {STATE}"
    return None


def finish(runs: Path, best: int | None, states: str) -> None:
    """Drop what a run that is finished needs no more.

    What is left of a run are its milestones (the last checkpoint is one) and its best one, without
    the states of training.

    Args:
        runs: folder of the run.
        best: step of a checkpoint that stays.
        states: folder within a checkpoint that goes.
    """
    _drop_old(runs, 0, best)
    for _, path in _all(runs):
        content = json.loads((path / MANIFEST).read_text())
        sums = {n: v for n, v in content["sha256"].items() if not n.startswith(f"{states}/")}
        if sums != content["sha256"]:
            fields = content | {"sha256": sums}
            write_atomically(path / MANIFEST, json.dumps(fields, indent=2).encode())
        shutil.rmtree(path / states, ignore_errors=True)


def _all(runs: Path) -> list[tuple[int, Path]]:
    if not runs.is_dir():
        return []
    found = [(NAME.fullmatch(path.name), path) for path in runs.iterdir()]
    return [(int(match[1]), path) for match, path in found if match]


def _drop_old(runs: Path, keep: int, best: int | None) -> None:
    passing = []
    for step, path in sorted(_all(runs), reverse=True):
        try:
            milestone = read_object(path / MANIFEST, milestone=bool)["milestone"]
        except (OSError, FileError):
            continue  # damaged: kept for whoever wants to look
        if not milestone and step != best:
            passing.append((step, path))
    for _, path in passing[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def same_run(recorded: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Fields in which two run files differ, as ``optimizer.lr: 0.001 was 0.003``."""
    found = []
    for name in sorted(recorded.keys() | wanted.keys()):
        before, after = recorded.get(name), wanted.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += [f"{name}.{difference}" for difference in same_run(before, after)]
        elif before != after:
            found.append(f"{name}: {after} was {before}")
    return found


def refuse_other_run(recorded: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to go on with another run file.

    Raises:
        InputError: naming the differences.
    """
    if differences := same_run(recorded, wanted):
        raise InputError(
            f"the run was begun with other values ({'; '.join(differences)}): use its own run "
            "file, another output folder, or --force-run-file"
        )
