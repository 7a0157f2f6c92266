"""Describe a model for records of the leaderboard: from its config and its checkpoint.

Checkpoints of ``growloop train`` also have seed, tokens and FLOPs of their run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.plugins import used
from ..leaderboard import Cost, Growth, Model, Record
from ..leaderboard.harness import model_name
from ..models import cost
from ..models.looping.config import current_schedule
from ..models.looping.decoder import decoder_config
from ..models.looping.native import adopt
from .model_identity import weights
from .provenance import (
    model_family,
    model_fields,
    model_size,
    read_metadata,
    read_runs,
    recipe_name,
    run_name,
)
from .runs import RunIdentity

PACKAGES = ("growloop", "torch", "transformers", "lm-eval")
SEQ_LEN = 2048
PATH_PARTS = 3  # last parts of a path, recorded to distinguish models of one name


def package_versions() -> dict[str, str]:
    """Return versions of the packages that a result depends on, and of plug-ins that were used."""
    versions = used()
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def model_of(model: Any, path: str, name: str | None = None) -> Model:
    """Describe a checkpoint.

    Args:
        model: the loaded model, or its config.
        path: folder, hub id, GGUF file or ``package:NAME``.
        name: name of the model; by default that of its run, or the end of its path.
    """
    config = getattr(model, "config", model)
    schedule = current_schedule(config)
    history = getattr(config, "growth_history", None) or ()
    metadata, runs = read_metadata(path), read_runs(path)
    run = runs[0] if runs else {}
    from_scratch = bool(run) and model_fields(run).get("path") is None
    return Model(
        name=name or model_name(run_name(runs) or _whole(path)),
        family=model_family(schedule, bool(history), runs),
        size=model_size(runs),
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
        # a run that started from a checkpoint knows only its own part
        training_flops=metadata.get("flops") if from_scratch else None,
        training_tokens=metadata.get("tokens") if from_scratch else None,
        recipe=recipe_name(runs),
        **_weights(config, path),
        source=f"growloop train {run['name']}" if run else None if Path(path).exists() else path,
        step=metadata.get("step"),
        training=identity.recipe if (identity := RunIdentity.read(path)) else None,
    )


def _weights(config: Any, path: str) -> dict[str, Any]:
    """Identify the weights: digest and folder of local files, or commit of a hub model."""
    try:
        identity = weights(path)
    except InputError:  # a folder without a model, whose config came from elsewhere
        return {}
    if identity is None:
        return {"revision": getattr(config, "_commit_hash", None)}
    parts = () if path.startswith("package:") else Path(path).resolve().parts[1:][-PATH_PARTS:]
    return {"digest": identity["sha256"], "folder": tuple(filter(_recordable, parts))}


def _recordable(part: str) -> bool:
    """Return whether a record can hold a part of a path."""
    return part.isprintable() and part == part.strip() and 0 < len(part) <= 200


def cost_of(model: Any, schedule: str | None = None) -> tuple[str, Cost]:
    """Return a schedule of a model or config, by default its own, and the costs under it."""
    config = getattr(model, "config", model)
    longest = getattr(decoder_config(config), "max_position_embeddings", None) or SEQ_LEN
    costs = cost(model, schedule, seq_len=min(SEQ_LEN, longest))
    return str(costs.schedule), Cost(
        unique_parameters=costs.unique_parameters,
        effective_parameters=costs.effective_parameters,
        inference_flops=float(costs.forward_flops),
        seq_len=costs.seq_len,
    )


def leaderboard_facts(path: str, model: Any, schedules: Iterable[str]) -> dict[str, Any]:
    """Return what the leaderboard needs of a model: ``{"model": …, "cost": {schedule: …}}``.

    A record of a study stores it, so that publishing needs no checkpoint.

    Args:
        path: path of the checkpoint, whose config describes it.
        model: the loaded model, which a study may have changed to loop.
        schedules: measured schedules other than the model's own.
    """
    from ..models.checkpoints import load_config
    from ..tasks.evaluate import model_arguments

    config = load_config(**model_arguments(path))
    description = model_of(config, path)
    every = dict.fromkeys([description.schedule, *schedules])
    costs = dict(cost_of(model, schedule) for schedule in every if schedule is not None)
    return {
        "model": _json(description),
        "cost": {name: _json(cost) for name, cost in costs.items()},
    }


def describe(results: dict[str, Any], path: str, name: str | None = None) -> None:
    """Add description and costs of a checkpoint to results of lm-eval that lack them."""
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
    """Return a model name given by the user.

    Raises:
        InputError: no record can have this name.
    """
    if name is not None:
        fields = {"model": {"name": name}, "task": {"name": "any"}, "value": 0.0}
        Record.from_fields({"version": 1, **fields})
    return name


class Recorder:
    """Describes the model of an evaluation, before and after it is changed to loop.

    Pass it as ``prepare`` to ``tasks.evaluate.evaluate``; then :meth:`note` adds the description
    to the results.

    Args:
        path: path that the model is loaded from.
        prepare: changes the model before it is scored.
        name: name of the model.
        files: whether the model is what the files at ``path`` hold; False for a loaded model, which
            may have changed since.
    """

    def __init__(
        self,
        path: str,
        prepare: Callable[[Any], object] | None = None,
        name: str | None = None,
        files: bool = True,
    ) -> None:
        self.files = files
        self.path = path
        self.prepare = prepare
        self.name = name
        self.facts: dict[str, Any] = {}
        self.config: Any = None

    def __call__(self, model: Any) -> None:
        """Describe ``model`` and prepare it."""
        adopt(model)
        description = self._describe(model)
        if self.prepare is not None:
            self.prepare(model)
        self.config = model.config
        self.facts = {"model": description, "versions": package_versions()}
        try:
            schedule, costs = cost_of(model)
        except InputError:  # models that cannot loop are scored without costs
            return
        self.facts |= {
            "schedule": schedule,
            "cost": _json(costs),
        }

    def _describe(self, model: Any) -> dict[str, Any]:
        if not self.files:
            return _json(Model(name=self.name or model_name(self.path)))
        try:
            description = model_of(model, self.path, self.name)
        except InputError:
            description = Model(
                name=self.name or model_name(_whole(self.path)),
                **_weights(model.config, self.path),
            )
        return _json(description)

    def note(self, results: dict[str, Any]) -> None:
        """Add the description to lm-eval's results."""
        stated = results.get("growloop", {})
        if stated.get("schedule") not in (None, self.facts.get("schedule")):  # one of several
            _, costs = cost_of(self.config, stated["schedule"])
            self.facts |= {"schedule": stated["schedule"], "cost": _json(costs)}
        results["growloop"] = {**self.facts, **stated}


def _whole(path: str) -> str:
    """Return a path that ends in a name: ``.`` does not."""
    return str(Path(path).resolve()) if Path(path).name in ("", "..") else path


def _json(part: Model | Cost) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)
