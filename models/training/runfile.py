"""Run file: everything that decides a training run, validated before it starts.

A run file is YAML, validated by pydantic. ``load("run.yaml", ["optimizer.lr=1e-3"])`` reads one.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ...core.errors import InputError, shown
from ...core.names import name_problem
from ...core.schedule import Schedule
from ..growing.maps import GrowthMap, growth_maps
from ..growing.prop_schedule import prop_schedule
from ..looping.recurrence import Recurrence
from .fields import format_error, override
from .runfile_sections import (
    STEPS,
    Checkpoints,
    Data,
    Evaluation,
    Event,
    Growth,
    Lora,
    Model,
    Optimizer,
    Section,
    Stage,
)
from .yaml_text import read_yaml_file

__all__ = [
    "Checkpoints",
    "Data",
    "Evaluation",
    "Event",
    "Growth",
    "Lora",
    "Model",
    "Optimizer",
    "Run",
    "Stage",
    "load",
    "of_fields",
    "parse",
    "parse_stored",
]

MOST = 10  # most problems of a run file in one message


def _folder_name(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(f"a run cannot be called {shown(name)}, which {problem}")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]


class Run(Section):
    """Training run.

    Args:
        name: name of the run.
        seed: seed of initial weights and data order.
        steps: number of optimizer steps.
        micro_batch_size: sequences a forward pass on each process, with gradient accumulation.
        precision: precision of matrix products: ``fp32``, or ``bf16`` autocast.
        parallel: data parallelism over processes: ``ddp``, each holds the whole model; ``fsdp2``,
            each holds a shard of the parameters, gradients and optimizer states.
        regulariser: weight of the looping regulariser (Saunshi 2025), which rewards similar layers
            one block apart.
        regulariser_block: layers of a block of the regulariser.
        compile: compile the model with ``torch.compile``.
        gradient_checkpointing: recompute activations in the backward pass, to save memory.
        log_every, validate_every: steps between two logged steps, and between two validations.
        patience: stop early after so many validations in a row without a lower held-out loss.
        trackers: experiment trackers of Accelerate, such as ``wandb``.
        model, data, optimizer: what is trained, on what, and how.
        growth: growth stages; None for a model of fixed depth.
        events: changes of the model or the data, evaluations and checkpoints at given steps.
        checkpoints: how often checkpoints are written, and which are kept.

    Example::

        run = load("run.yaml", ["steps=100"])
        run.data.batch_size, run.optimizer.lr
    """

    name: FolderName
    seed: int = Field(0, ge=0, lt=2**63)
    steps: int = Field(ge=1, le=STEPS)
    micro_batch_size: int | None = Field(None, ge=1, le=2**24)
    precision: Literal["fp32", "bf16"] = "bf16"
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    compile: bool = False
    gradient_checkpointing: bool = False
    regulariser: float = Field(0.0, ge=0)
    regulariser_block: int = Field(4, ge=1)
    log_every: int = Field(10, ge=1)
    validate_every: int = Field(1000, ge=1)
    patience: int | None = Field(None, ge=1)
    trackers: tuple[str, ...] = ()
    model: Model
    data: Data
    optimizer: Optimizer = Optimizer()
    growth: Growth | None = None
    events: tuple[Event, ...] = ()
    checkpoints: Checkpoints = Checkpoints()

    @model_validator(mode="after")
    def _check_run(self) -> Run:
        optimizer = self.optimizer
        if optimizer.warmup + optimizer.cooldown > self.steps:
            raise ValueError(
                f"warm-up ({optimizer.warmup}) and cooldown ({optimizer.cooldown}) take more than "
                f"the {self.steps} steps"
            )
        if self.parallel == "fsdp2" and optimizer.name == "muon":
            raise ValueError("muon needs whole matrices, which parallel: fsdp2 divides: use adamw")
        if (self.patience or self.checkpoints.best) and self.data.validation is None:
            raise ValueError("patience and checkpoints.best need data.validation")
        if self.data.examples and self.model.path is None:
            raise ValueError("data.examples need model.path: its tokenizer reads them")
        if self.model.lora and (self.growth or self.events or self.model.path is None):
            raise ValueError("model.lora is for fine-tuning model.path, without growth or events")
        for event in self.events:
            if event.step >= self.steps + event.after:
                raise ValueError(f"an event at step {event.step} never comes: {self.steps} steps")
            if event.step == 0 and (event.evaluate or event.checkpoint):
                raise ValueError("evaluate and checkpoint need a trained model: not step 0")
            if event.mixture and self.data.examples:
                raise ValueError("an event's mixture is of sources or lessons: examples have none")
        if self.compile:
            for given in (self.model.recurrence, *(event.recurrence for event in self.events)):
                if problem := _uncompiled(Recurrence.from_dict(given or {})):
                    raise ValueError(f"compile does not work with {problem}: leave compile out")
        model = self.model
        if self.growth is not None and (model.path or model.schedule or model.recurrence):
            raise ValueError(
                "growth is from one block to the depth of model.preset: it excludes path, "
                "schedule and recurrence (loop the grown model by an event)"
            )
        return self

    def regulariser_at(self, step: int) -> float:
        """Return the weight of the looping regulariser at a step."""
        changes = [(e.step, e.regulariser) for e in self.events if e.regulariser is not None]
        past = [weight for start, weight in sorted(changes) if start <= step]
        return past[-1] if past else self.regulariser

    def hash(self) -> str:
        """Return the SHA-256 of the run file's values."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def growth_steps(self, depth: int) -> list[tuple[int, GrowthMap]]:
        """List (step, growth map to apply before it) up to ``depth`` layers.

        Raises:
            InputError: the operator does not reach this depth from one block.
        """
        if self.growth is None:
            return []
        growth = self.growth
        maps = growth_maps(growth.operator, growth.block_size, depth, **growth.operator_options)
        steps = growth.steps or self.steps - self.optimizer.cooldown
        stages = prop_schedule(steps, len(maps) + 1, growth.alpha)
        return list(zip(accumulate(stages[:-1]), maps, strict=True))


def _uncompiled(recurrence: Recurrence) -> str | None:
    """Return the part of a recurrence that is not compiled; None if there is none."""
    compiled = ("add", "concat", "damped", "substeps")
    parts = (f"{kind} {p.name}" for kind, p in recurrence.parts if p.name not in compiled)
    draws = recurrence.random_loops
    sequences = "random_loops per sequence" if draws and draws.per == "sequence" else None
    return next(parts, sequences)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Run:
    """Read a run file.

    Args:
        overrides: values that replace those of the file, such as ``optimizer.lr=1e-3``.

    Raises:
        InputError: the run file is invalid; the message lists field and problem.
    """
    fields = read_yaml_file(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path} holds no run: it must map names to values")
    return of_fields(fields, overrides, str(path))


def of_fields(
    fields: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "the run"
) -> Run:
    """Check the fields of a run.

    Args:
        fields: name -> value, as in a run file.
        overrides: values that replace some, such as ``optimizer.lr=1e-3``.
        where: name of the run, for messages.

    Raises:
        InputError: a field is invalid; the message lists field and problem.
    """
    own = copy.deepcopy(dict(fields))
    for text in overrides:
        override(own, text)
    return parse(own, where)


def parse_stored(fields: dict[str, Any], where: str) -> Run:
    """Parse the run of a checkpoint, where a schedule ``8-24`` can only be two blocks.

    Raises:
        InputError: the run is invalid; the message lists field and problem.
    """
    fields = copy.deepcopy(fields)
    for part in (fields.get("model") or {}, *(fields.get("events") or ())):
        for name in ("schedule", "grow"):
            if re.fullmatch(r"[\d\s]+(-[\d\s]+)+", str(part.get(name))):
                part[name] = str(Schedule.parse(part[name], stored=True))
    return parse(fields, where)


def parse(fields: dict[str, Any], where: str = "run") -> Run:
    """Parse a run from a dictionary.

    Raises:
        InputError: the run is invalid; the message lists field and problem.
    """
    try:
        return Run.model_validate(fields)
    except ValidationError as error:
        problems = [format_error(e, Run) for e in error.errors(include_url=False)]
        more = f"; and {len(problems) - MOST} more" if len(problems) > MOST else ""
        raise InputError(f"{where}: {'; '.join(problems[:MOST])}{more}") from error
