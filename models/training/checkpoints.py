"""Checkpoints of a run: written atomically, with checksums; the newest undamaged one is used.

A checkpoint is an ordinary Hugging Face folder, so any tool can evaluate it. It also holds
``optimizers/`` (moments by parameter name), ``training.json`` (state of training) and
``manifest.json`` (a checksum of every file). It is written under a temporary name and renamed.
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
    run_folder: Path,
    step: int,
    fill: Callable[[Path], None],
    keep: int,
    milestone: bool = False,
    best: int | None = None,
) -> Path:
    """Write the checkpoint of a step, and delete old checkpoints.

    Args:
        run_folder: folder of the run.
        step: optimizer steps done.
        fill: writes the files of the checkpoint into a folder.
        keep: number of newest checkpoints to keep, besides milestones.
        milestone: never delete this checkpoint.
        best: step of the best checkpoint so far, kept until another one is better.

    Raises:
        OSError: a file cannot be written; existing checkpoints stay.
    """
    final = run_folder / f"step-{step:09d}"
    with replacing(final, folder=True) as part:  # it exists if the run resumed from an earlier one
        fill(part)
        files = sorted(path for path in part.rglob("*") if path.is_file())
        sums = {path.relative_to(part).as_posix(): sha256(path) for path in files}
        content = {"step": step, "milestone": milestone, "sha256": sums}
        (part / MANIFEST).write_text(json.dumps(content, indent=2))
    _drop_old(run_folder, keep, best)
    return final


def newest(run_folder: Path, warn: Callable[[str], object]) -> tuple[int, Path] | None:
    """Return step and folder of the newest undamaged checkpoint; None if there is none.

    Args:
        run_folder: folder of the run.
        warn: callback for a message about each newer, damaged checkpoint.
    """
    for step, path in sorted(_all(run_folder), reverse=True):
        damage = problem(path)
        if damage is None:
            return step, path
        warn(f"checkpoint {path.name} is damaged ({damage}): using the one before")
    return None


def problem(path: Path) -> str | None:
    """Describe the damage of a checkpoint; None if it is undamaged."""
    if damage := checksum_problem(path):
        return damage
    try:
        content = read_object(path / MANIFEST, step=int, milestone=bool, sha256=dict)
    except (OSError, FileError):
        return f"{MANIFEST} cannot be read"
    if (match := NAME.fullmatch(path.name)) and content["step"] != int(match[1]):
        return f"{MANIFEST} is of step {content['step']}"
    if STATE not in content["sha256"]:
        return f"{MANIFEST} does not name {STATE}"
    return None


def finish(run_folder: Path, best: int | None, states: str) -> None:
    """Delete what only an unfinished run needs.

    Milestones (the last checkpoint is one) and the best checkpoint stay, without optimizer states.

    Args:
        run_folder: folder of the run.
        best: step of the best checkpoint.
        states: name of the folder to delete from each checkpoint.
    """
    _drop_old(run_folder, 0, best)
    for _, path in _all(run_folder):
        try:
            content = read_object(path / MANIFEST, sha256=dict)
        except (OSError, FileError):
            continue  # damaged: kept for inspection
        sums = {n: v for n, v in content["sha256"].items() if not n.startswith(f"{states}/")}
        if sums != content["sha256"]:
            fields = content | {"sha256": sums}
            write_atomically(path / MANIFEST, json.dumps(fields, indent=2).encode())
        shutil.rmtree(path / states, ignore_errors=True)


def _all(run_folder: Path) -> list[tuple[int, Path]]:
    if not run_folder.is_dir():
        return []
    matches = [(NAME.fullmatch(path.name), path) for path in run_folder.iterdir()]
    return [(int(match[1]), path) for match, path in matches if match]


def _drop_old(run_folder: Path, keep: int, best: int | None) -> None:
    removable = []
    for step, path in sorted(_all(run_folder), reverse=True):
        try:
            milestone = read_object(path / MANIFEST, milestone=bool)["milestone"]
        except (OSError, FileError):
            continue  # damaged: kept for inspection
        if not milestone and step != best:
            removable.append((step, path))
    for _, path in removable[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def same_run(recorded: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """List the differences of two run files, such as ``optimizer.lr: 0.001 was 0.003``."""
    differences = []
    for name in sorted(recorded.keys() | current.keys()):
        before, after = recorded.get(name), current.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            differences += [f"{name}.{difference}" for difference in same_run(before, after)]
        elif before != after:
            differences.append(f"{name}: {after} was {before}")
    return differences


def refuse_other_run(recorded: dict[str, Any], current: dict[str, Any]) -> None:
    """Refuse to resume with another run file.

    Raises:
        InputError: the run files differ; the message lists the differences.
    """
    if differences := same_run(recorded, current):
        raise InputError(
            f"the run began with other values ({'; '.join(differences)}): use its own run "
            "file, another output folder, or --force"
        )
