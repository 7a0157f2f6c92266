"""What the runs that made a checkpoint tell of it: kind, cooldown, where its weights come from.

A run that began with a checkpoint is followed back to the run that made that one, as far as the
folders are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.strict_json import loads
from ..models import Schedule

SHORT = {"finemath": "FMT", "nemotron": "NMT"}  # as the paper's tables call what cools down on it
LONGEST = 20  # runs
TUNED = "sft"  # as growloop sft calls every run
GREW = 0.005  # of all: what a share must grow by to be named
NAMED = 4  # sources, at most


def training_of(path: str) -> dict[str, Any]:
    """What a run left beside its checkpoint; nothing for other checkpoints."""
    try:
        found = loads((Path(path) / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def runs_of(path: str) -> list[dict[str, Any]]:
    """The runs that made a checkpoint, the last one first."""
    found: list[dict[str, Any]] = []
    place: Any = path
    while isinstance(place, str) and len(found) < LONGEST:
        run = training_of(place).get("run")
        if not run:
            break
        found.append(run)
        place = _model(run).get("path")
    return found


def family_of(schedule: Schedule, grown: bool, runs: Sequence[Mapping[str, Any]]) -> str:
    """The kind of model: see ``leaderboard.Model``.

    Args:
        schedule: that it runs now.
        grown: whether it has grown.
        runs: of :func:`runs_of`.
    """
    looped = any(section.times > 1 for section in schedule.sections)
    if looped and any(map(_loops_late, runs)):
        return "retrofitted"
    if looped:
        return "grown-looped" if grown else "looped"
    if any(_model(run).get("untie") for run in runs):
        return "untied"
    return "grown" if grown else "standard"


def name_of(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """What the last run calls its model.

    All of ``growloop sft`` are called alike: these are called after what was tuned, and on what.
    """
    if not runs:
        return None
    run, *earlier = runs
    examples = (run.get("data") or {}).get("examples")
    if run.get("name") != TUNED or not examples:
        return run.get("name")
    if earlier:
        base = f"{name_of(earlier)}-s{earlier[0].get('seed')}"
    else:
        base = str(_model(run).get("path")).rstrip("/").rpartition("/")[2]
    return f"{base}-{TUNED}-{Path(examples).stem}"


def _loops_late(run: Mapping[str, Any]) -> bool:
    """Whether a run adds a loop to what was trained before."""
    began_trained = _model(run).get("path") is not None
    return bool(began_trained and _model(run).get("schedule")) or any(
        (event.get("step") or began_trained) and (event.get("schedule") or event.get("repeat"))
        for event in run.get("events") or ()
    )


def size_of(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """The preset that the first of the runs began with."""
    found = _model(runs[-1]).get("preset") if runs else None
    return None if found is None else str(found)


def recipe_of(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """What sets the training apart: the mixture of a cooldown with one of its own, fine-tuning.

    ``cooldown`` and the sources whose share grew in the second half of a run, or in one that began
    with a checkpoint, with what they grew to: ``cooldown NMT 20%``, ``cooldown math 60% + code
    20%``. None if nothing changed.
    """
    recipe: str | None = None
    shares: dict[str, float] = {}
    for number, run in enumerate(reversed(runs)):
        data = run.get("data") or {}
        if data.get("examples"):
            return "fine-tuned"
        before, shares = shares, _at_first(data)
        recipe = (number and _change(before, shares)) or recipe
        events = [event for event in run.get("events") or () if event.get("mixture")]
        for event in sorted(events, key=lambda event: int(event["step"])):
            late = number > 0 or 2 * int(event["step"]) >= int(run.get("steps") or 0)
            before, shares = shares, _normal(event["mixture"])
            recipe = (late and _change(before, shares)) or recipe
    return recipe or None


def _change(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """The sources whose share grew, the largest first."""
    grew = {
        name: share
        for name, share in after.items()
        if before and share - before.get(name, 0.0) > GREW
    }
    names = sorted(grew, key=lambda name: -grew[name])
    told = [f"{SHORT.get(name, name)} {grew[name]:.0%}" for name in names[:NAMED]]
    told += ["…"] if len(names) > NAMED else []
    return f"cooldown {' + '.join(told)}" if told else None


def _at_first(data: Mapping[str, Any]) -> dict[str, float]:
    """The shares of sources, or of the lessons of the last stage, before any event."""
    if data.get("curriculum"):
        return _normal(data["curriculum"][-1]["lessons"])
    return _normal(data.get("mixture") or dict.fromkeys(data.get("sources") or (), 1.0))


def _normal(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values()) or 1.0
    return {name: share / total for name, share in shares.items()}


def _model(run: Mapping[str, Any]) -> Mapping[str, Any]:
    found = run.get("model")
    return found if isinstance(found, Mapping) else {}
