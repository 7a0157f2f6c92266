"""Provenance of a checkpoint: model family, recipe and size, read from the runs that made it.

A run that started from a checkpoint is followed back to the run that made that one, as far as the
folders exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.strict_json import fields_problem, loads
from ..models import Schedule

SHORT_NAMES = {"finemath": "FMT", "nemotron": "NMT"}  # names of cooldowns in the paper's tables
MAX_RUNS = 20
SFT_NAME = "sft"  # name of every run of growloop sft
MIN_SHARE_GAIN = 0.005  # of a source in a cooldown, for it to be named
MAX_SOURCES = 4  # named in a recipe
_EMPTY = type(None)
RUN_FIELDS: dict[str, type | tuple[type, ...]] = {
    "seed": (int, _EMPTY), "steps": (int, _EMPTY), "model": (dict, _EMPTY), "data": (dict, _EMPTY),
    "events": (list, _EMPTY),
}  # fmt: skip


def read_metadata(path: str) -> dict[str, Any]:
    """Read ``training.json`` of a checkpoint; empty for checkpoints of other programs."""
    try:
        metadata = loads((Path(path) / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def read_runs(path: str) -> list[dict[str, Any]]:
    """Read the run files of the runs that made a checkpoint, the last run first.

    Raises:
        InputError: a run is damaged: its model, say, is text.
    """
    runs: list[dict[str, Any]] = []
    checkpoint: Any = path
    while isinstance(checkpoint, str) and len(runs) < MAX_RUNS:
        run = read_metadata(checkpoint).get("run")
        if not (isinstance(run, dict) and isinstance(run.get("name"), str)):
            break  # another program's
        problem = fields_problem(run, **RUN_FIELDS)
        events = run.get("events") or ()
        if problem is None and not all(isinstance(event, dict) for event in events):
            problem = "events holds more than objects"
        if problem is not None:
            raise InputError(f"{Path(checkpoint) / 'training.json'} is damaged: run: {problem}")
        runs.append(run)
        checkpoint = model_fields(run).get("path")
    return runs


def model_family(schedule: Schedule, grown: bool, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the model family, as ``leaderboard.Model`` names it.

    Args:
        schedule: schedule of the model.
        grown: whether its config has a growth history.
        runs: runs that made it, from :func:`read_runs`.
    """
    looped = any(section.times > 1 for section in schedule.sections)
    if looped and any(map(_adds_loop, runs)):
        return "retrofitted"
    if looped:
        return "grown-looped" if grown else "looped"
    if any(model_fields(run).get("untie") for run in runs):
        return "untied"
    return "grown" if grown else "standard"


def run_name(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the last run.

    Runs of ``growloop sft`` all have one name: theirs is made of the base model and the examples.
    """
    if not runs:
        return None
    run, *earlier = runs
    examples = (run.get("data") or {}).get("examples")
    if run.get("name") != SFT_NAME or not examples:
        return run.get("name")
    if earlier:
        base = f"{run_name(earlier)}-s{earlier[0].get('seed')}"
    else:
        base = str(model_fields(run).get("path")).rstrip("/").rpartition("/")[2]
    return f"{base}-{SFT_NAME}-{Path(examples).stem}"


def _adds_loop(run: Mapping[str, Any]) -> bool:
    """Return whether a run adds a loop to a model trained before."""
    began_trained = model_fields(run).get("path") is not None
    return bool(began_trained and model_fields(run).get("schedule")) or any(
        (event.get("step") or began_trained) and (event.get("schedule") or event.get("repeat"))
        for event in run.get("events") or ()
    )


def model_size(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the preset that the first of the runs started with."""
    preset = model_fields(runs[-1]).get("preset") if runs else None
    return None if preset is None else str(preset)


def recipe_name(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Name the recipe of a model: fine-tuning, or a cooldown on another mixture.

    A cooldown is named after the sources whose share grew in the second half of a run, or in a run
    that started from a checkpoint, with their new shares: ``cooldown NMT 20%``, ``cooldown math
    60% + code 20%``. None if no mixture changed.
    """
    recipe: str | None = None
    shares: dict[str, float] = {}
    for number, run in enumerate(reversed(runs)):
        data = run.get("data") or {}
        if data.get("examples"):
            return "fine-tuned"
        before, shares = shares, _first_shares(data)
        recipe = (number and _cooldown_name(before, shares)) or recipe
        events = [event for event in run.get("events") or () if event.get("mixture")]
        for event in sorted(events, key=lambda event: int(event["step"])):
            late = number > 0 or 2 * int(event["step"]) >= int(run.get("steps") or 0)
            before, shares = shares, _normalized(event["mixture"])
            recipe = (late and _cooldown_name(before, shares)) or recipe
    return recipe or None


def _cooldown_name(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """Name a cooldown after the sources whose share grew, the largest first."""
    larger = {
        name: share
        for name, share in after.items()
        if before and share - before.get(name, 0.0) > MIN_SHARE_GAIN
    }
    names = sorted(larger, key=lambda name: -larger[name])
    parts = [f"{SHORT_NAMES.get(name, name)} {larger[name]:.0%}" for name in names[:MAX_SOURCES]]
    parts += ["…"] if len(names) > MAX_SOURCES else []
    return f"cooldown {' + '.join(parts)}" if parts else None


def _first_shares(data: Mapping[str, Any]) -> dict[str, float]:
    """Return shares of sources before any event; of a curriculum, those of its last stage."""
    if data.get("curriculum"):
        return _normalized(data["curriculum"][-1]["lessons"])
    return _normalized(data.get("mixture") or dict.fromkeys(data.get("sources") or (), 1.0))


def _normalized(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values()) or 1.0
    return {name: share / total for name, share in shares.items()}


def model_fields(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the field ``model`` of a run file; empty if it has none."""
    return run.get("model") or {}
