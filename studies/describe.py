"""What a record says about a model: read from a loaded model or config, and from its checkpoint.

A checkpoint of ``growloop train`` knows its seed, tokens and FLOPs; any other its config alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..leaderboard import Cost, Growth, Model, Record
from ..leaderboard.harness import model_name
from ..models import cost
from ..models.looping.config import current_schedule
from ..models.looping.decoder import decoder_config
from .model_identity import weights
from .provenance import family_of, name_of, recipe_of, runs_of, size_of, training_of
from .runs import RunIdentity

PACKAGES = ("growloop", "torch", "transformers", "lm-eval")
SEQ_LEN = 2048
PARTS = 3  # of the path of a model, kept to tell models of one name apart


def versions() -> dict[str, str]:
    """Of the packages that a result depends on, where they are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_of(model: Any, path: str, name: str | None = None) -> Model:
    """The description of a checkpoint.

    Args:
        model: it, or its config, as it was loaded.
        path: folder, hub id, GGUF file or ``package:NAME``.
        name: what to call it; by default as its run, or after its path.
    """
    config = getattr(model, "config", model)
    schedule = current_schedule(config)
    history = getattr(config, "growth_history", None) or ()
    training, runs = training_of(path), runs_of(path)
    run = runs[0] if runs else {}
    from_scratch = bool(run) and (run.get("model") or {}).get("path") is None
    return Model(
        name=name or model_name(name_of(runs) or _whole(path)),
        family=family_of(schedule, bool(history), runs),
        size=size_of(runs),
        seed=run.get("seed"),
        schedule=str(schedule),
        unique_layers=schedule.num_unique_layers,
        effective_layers=schedule.effective_depth,
        growth=tuple(
            Growth(
                operator=step["operator"],
                before=step["from"],
                after=step["to"],
                sources=step.get("sources"),
            )
            for step in history
        ),
        # of a run that began with a checkpoint only the last part is known
        training_flops=training.get("flops") if from_scratch else None,
        training_tokens=training.get("tokens") if from_scratch else None,
        recipe=recipe_of(runs),
        **_content(config, path),
        source=f"growloop train {run['name']}" if run else None if Path(path).exists() else path,
        step=training.get("step"),
        training=trained.recipe if (trained := RunIdentity.read(path)) else None,
    )


def _content(config: Any, path: str) -> dict[str, Any]:
    """Which weights these are: a digest of files and where they were; of the hub the commit."""
    try:
        known = weights(path)
    except InputError:  # a folder without a model, whose config came from elsewhere
        return {}
    if known is None:
        return {"revision": getattr(config, "_commit_hash", None)}
    parts = () if path.startswith("package:") else Path(path).resolve().parts[1:][-PARTS:]
    return {"digest": known["sha256"], "folder": tuple(part for part in parts if _sayable(part))}


def _sayable(part: str) -> bool:
    """Whether a record can hold a part of a path."""
    return part.isprintable() and part == part.strip() and 0 < len(part) <= 200


def cost_of(model: Any, schedule: str | None = None) -> tuple[str, Cost]:
    """The schedule of a model or config, by default what it runs now, and what it costs."""
    config = getattr(model, "config", model)
    longest = getattr(decoder_config(config), "max_position_embeddings", None) or SEQ_LEN
    found = cost(model, schedule, seq_len=min(SEQ_LEN, longest))
    return str(found.schedule), Cost(
        unique_parameters=found.unique_parameters,
        effective_parameters=found.effective_parameters,
        inference_flops=float(found.forward_flops),
        seq_len=found.seq_len,
    )


def described(path: str, model: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a study's record keeps for the leaderboard, so that it needs no checkpoint later.

    Args:
        path: of the checkpoint, whose config tells what it is.
        model: it, as it is now: a study may have made it loop.
        rows: what was measured, each under its own schedule if it names one.
    """
    from ..models.checkpoints import load_config
    from ..tasks.evaluate import model_arguments

    config = load_config(**model_arguments(path))
    about = model_of(config, path)
    schedules = dict.fromkeys([about.schedule, *(row.get("schedule") for row in rows)])
    costs = [cost_of(model, schedule) for schedule in schedules if schedule is not None]
    return {"model": _json(about), "cost": {schedule: _json(found) for schedule, found in costs}}


def describe(results: dict[str, Any], path: str, name: str | None = None) -> None:
    """Note in lm-eval's results what a checkpoint tells about itself, for results without that."""
    from ..models.checkpoints import load_config
    from ..tasks.evaluate import model_arguments

    config = load_config(**model_arguments(path))
    schedule, costs = cost_of(config, (results.get("growloop") or {}).get("schedule"))
    results["growloop"] = {
        **(results.get("growloop") or {}),
        "model": _json(model_of(config, path, name)),
        "cost": _json(costs),
        "schedule": schedule,
    }


def checked_name(name: str | None) -> str | None:
    """A name for a model that was asked for, refused here if no record can have it.

    Raises:
        InputError: saying why not.
    """
    if name is not None:
        fields = {"model": {"name": name}, "task": {"name": "any"}, "value": 0.0}
        Record.from_fields({"version": 1, **fields})
    return name


class Recorder:
    """Describes a model on its way into an evaluation, before and after it is looped for it.

    Give it as ``prepare`` to ``tasks.evaluate.evaluate``, then let it note in the results what it
    saw.

    Args:
        path: that the model is loaded from.
        prepare: what is done to the model.
        name: what to call it.
    """

    def __init__(
        self,
        path: str,
        prepare: Callable[[Any], object] | None = None,
        name: str | None = None,
    ) -> None:
        self.path = path
        self.prepare = prepare
        self.name = name
        self.found: dict[str, Any] = {}
        self.config: Any = None

    def __call__(self, model: Any) -> None:
        """Describe ``model`` and prepare it."""
        described = self._describe(model)
        if self.prepare is not None:
            self.prepare(model)
        self.config = model.config
        self.found = {"model": described, "versions": versions()}
        try:
            schedule, costs = cost_of(model)
        except InputError:  # no decoder that can loop is scored all the same
            return
        self.found |= {
            "schedule": schedule,
            "cost": _json(costs),
        }

    def _describe(self, model: Any) -> dict[str, Any]:
        try:
            found = model_of(model, self.path, self.name)
        except InputError:
            found = Model(
                name=self.name or model_name(_whole(self.path)),
                **_content(model.config, self.path),
            )
        return _json(found)

    def note(self, results: dict[str, Any]) -> None:
        """Add what was seen to lm-eval's results."""
        told = results.get("growloop", {})
        if told.get("schedule") not in (None, self.found.get("schedule")):  # one of several
            _, costs = cost_of(self.config, told["schedule"])
            self.found |= {"schedule": told["schedule"], "cost": _json(costs)}
        results["growloop"] = {**self.found, **told}


def _whole(path: str) -> str:
    """A path that ends in a name: ``.`` has none."""
    return str(Path(path).resolve()) if Path(path).name in ("", "..") else path


def _json(part: Model | Cost) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)
