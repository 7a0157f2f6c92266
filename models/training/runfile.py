"""Run file: everything that decides a training run, validated before it starts.

A run file is YAML, validated by pydantic. Defaults follow the paper's recipe, or SmolLM-v1's
published one where the paper gives no value. ``load("run.yaml", ["optimizer.lr=1e-3"])``.
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

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from ...core.errors import InputError, shown
from ...core.names import name_problem
from ...core.schedule import Schedule
from ..growing.maps import GrowthMap, growth_maps
from ..growing.operators import OPERATORS, accepted_options, find_operator, is_reference
from ..growing.prop_schedule import prop_schedule
from ..looping.recurrence import Recurrence
from .data.rows import Columns
from .fields import check_number, format_error, override
from .yaml_text import read_yaml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: Any, info: ValidationInfo) -> Any:
        return check_number(value, cls.model_fields[info.field_name or ""].annotation)


def _folder_name(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(f"a run cannot be called {shown(name)}, which {problem}")
    return name


def _operator(value: Any) -> Any:
    """Refuse a growth operator that is neither a text nor a list of layers."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    layers = value if isinstance(value, (list, tuple)) else ()
    if layers and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in layers):
        return tuple(layers)
    raise ValueError(
        "an operator is a name, module:function, or a list of source layers such as [0, 1, 0, 1], "
        f"not {shown(value)}"
    )


Operator = Annotated[str | tuple[int, ...], BeforeValidator(_operator)]
FolderName = Annotated[str, AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, lt=1)]
STEPS = 10**9 - 1  # checkpoint names have nine digits
MOST = 10  # most problems of a run file in one message


class Lora(_Part):
    """Low-rank adapters on the linear maps of the layers (LoRA, through PEFT).

    Args:
        rank: rank of the adapters.
        alpha: scale; the update is ``alpha / rank`` times their product. By default twice the rank.
        dropout: dropout before the adapters.
        modules: names of the linear maps; by default all but the head.
    """

    rank: int = Field(16, ge=1, le=2**16)
    alpha: float | None = Field(None, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    modules: tuple[str, ...] = ()


class Model(_Part):
    """Model to train: either a preset or a checkpoint.

    Args:
        preset: name in ``PRESETS``.
        path: checkpoint to start from.
        options: config fields to change, with ``preset`` only.
        schedule: schedule of the layers from the start.
        recurrence: fields of :class:`Recurrence`, the parts between loops (docs/loop-variants.md).
        untie: give each step of a looped model its own copy of the layer first.
        lora: train low-rank adapters only.
    """

    preset: str | None = None
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    schedule: str | None = None
    recurrence: dict[str, Any] = Field(default_factory=dict)
    untie: bool = False
    lora: Lora | None = None

    @model_validator(mode="after")
    def _check_exclusive(self) -> Model:
        if (self.preset is None) == (self.path is None):
            raise ValueError("give preset or path, one of them")
        if self.path is not None and self.options:
            raise ValueError("options change a preset: what path names has a config of its own")
        if self.preset is not None and self.untie:
            raise ValueError("untie is for the looped model that path names")
        if self.schedule is not None:
            Schedule.parse(self.schedule)
        Recurrence.from_dict(self.recurrence)
        return self


class Stage(_Part):
    """Stage of a curriculum of generated lessons.

    Args:
        lessons: lesson name (see :mod:`.lessons`) -> share. The first lesson is the main one.
        until: the stage ends when the running loss of the main lesson, in nats a target, is lower.
    """

    lessons: dict[str, float] = Field(min_length=1)
    until: float = Field(0.0, ge=0)


class Data(_Part):
    """Training data: either sources, a curriculum or examples.

    Args:
        sources: name -> folder of token shards.
        mixture: source -> share; by default equal shares.
        curriculum: stages of generated lessons.
        examples: file of examples, for fine-tuning.
        columns: columns of ``examples`` to read; by default decided by its first row.
        delimiter: text between prompt and target; by default a space, or nothing for the columns of
            TRL and Alpaca.
        chat_template: file with the chat template for messages; by default the model's own.
        pack: put several examples into a sequence.
        seq_len: tokens a sequence.
        batch_size: sequences a step, over all processes; with ``examples``, examples a step.
        validation: folder of token shards, or file of examples, for the held-out loss.
    """

    sources: dict[str, str] = Field(default_factory=dict)
    curriculum: tuple[Stage, ...] = ()
    examples: str | None = None
    columns: Columns | None = None
    delimiter: str | None = None
    chat_template: str | None = None
    pack: bool = True
    mixture: dict[str, float] = Field(default_factory=dict)
    seq_len: int = Field(2048, ge=2, le=2**24)
    batch_size: int = Field(512, ge=1, le=2**24)
    validation: str | None = None

    @model_validator(mode="after")
    def _check_data(self) -> Data:
        if sum(map(bool, (self.sources, self.curriculum, self.examples))) != 1:
            raise ValueError("give sources, a curriculum or examples, one of them")
        if self.curriculum and self.validation:
            raise ValueError("a curriculum needs no validation: no item comes twice")
        for name in ("columns", "delimiter", "chat_template"):
            if getattr(self, name) is not None and self.examples is None:
                raise ValueError(f"{name} says how examples are read: give examples")
        if self.mixture and not self.sources:
            raise ValueError(
                "a mixture needs sources: a curriculum has shares of its own, examples have none"
            )
        return self

    def shares(self) -> dict[str, float]:
        """Return source -> share."""
        return dict(self.mixture) or {name: 1 / len(self.sources) for name in self.sources}


class Optimizer(_Part):
    """Optimizer: AdamW, or Muon for the matrices of the layers and AdamW for the rest.

    Args:
        name: ``adamw`` or ``muon``.
        lr: peak learning rate (of AdamW).
        muon_lr: peak learning rate of Muon.
        warmup: steps of linear warm-up.
        cooldown: steps of linear decay to 0 at the end.
        betas, eps: AdamW's running-mean decays and the term that keeps its divisor above 0.
        weight_decay: decoupled weight decay; norms and biases have none.
        clip: largest gradient norm; larger gradients are scaled down.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(3e-3, gt=0)
    muon_lr: float = Field(0.02, gt=0)
    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, allow_inf_nan=True)
    warmup: int = Field(2000, ge=0, le=STEPS)
    cooldown: int = Field(0, ge=0, le=STEPS)


class Growth(_Part):
    """Growth from ``block_size`` layers to the model's depth, on a PROP-alpha schedule.

    Args:
        operator: growth operator: a name in ``OPERATORS``, ``module:function``, or a list of source
            layers, which is one step from the first stage to the model's depth.
        block_size: layers of the first stage; also the option ``block_size`` of an operator that
            has one, usually the layers that each growth step adds.
        alpha: exponent of the PROP schedule of stage lengths.
        steps: optimizer steps of all stages; by default all but the cooldown.
        order: layer order of ``lidas``.
        options: further options of the operator of a plug-in.
    """

    operator: Operator = "lidas"
    block_size: int = Field(4, ge=1, le=10_000)
    alpha: float = 1.0
    steps: int | None = Field(None, ge=1, le=STEPS)
    order: Literal["contiguous", "inserted"] | None = None
    options: dict[str, StrictInt | str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_operator(self) -> Growth:
        own = self.options.keys() & {"block_size", "order"}
        if own:
            raise ValueError(f"{min(own)} has a field of its own: it is none of the options")
        operator = self.operator
        if isinstance(operator, tuple) or operator in OPERATORS or is_reference(operator):
            return self
        if not operator[:1].isdecimal():
            raise OPERATORS.unknown(operator)
        Schedule.parse(operator)
        return self

    @model_serializer(mode="wrap")
    def _leave_out_no_options(self, serialize: Any) -> dict[str, Any]:
        """Write a run without options as before they existed: its digests stay."""
        fields: dict[str, Any] = serialize(self)
        if not self.options:
            del fields["options"]
        return fields

    @property
    def operator_options(self) -> dict[str, int | str]:
        """Return the options that the operator takes; imports a plug-in's."""
        options: dict[str, int | str] = dict(self.options)
        if (function := find_operator(self.operator)) is not None:
            accepted, more = accepted_options(function)
            if more or "block_size" in accepted:
                options["block_size"] = self.block_size
        if self.order is not None:
            options["order"] = self.order
        return options


class Evaluation(_Part):
    """Tasks to score the model on.

    Args:
        tasks: task names, as for ``growloop eval --tasks``.
        shots: few-shot examples before each question; by default those of the task.
        limit: most questions of each task; None for all.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    shots: int | None = Field(None, ge=0, le=10**5)
    limit: int | None = Field(None, ge=1, le=10**9)


class Event(_Part):
    """Event on the step axis of a run: a change, an evaluation or a checkpoint.

    Args:
        step: step that the event precedes.
        mixture: shares of sources from now on; with a curriculum, shares of lessons that replace
            those of its stages.
        schedule: another schedule from now on.
        repeat: block ``start:stop`` of the schedule to repeat from now on (retrofit).
        times: number of extra passes of the ``repeat`` block.
        recurrence: fields of :class:`Recurrence` from now on.
        grow: growth operator with its default options (a name or ``module:function``), or a list
            of source layers, in the notation of schedules too.
        regulariser: weight of the looping regulariser from now on.
        evaluate: tasks to score the model on; the metrics get ``accuracy/TASK``.
        checkpoint: write a checkpoint that is never deleted.
    """

    step: int = Field(ge=0, le=STEPS)
    mixture: dict[str, float] | None = None
    schedule: str | None = None
    repeat: tuple[int, int] | None = None
    times: int = Field(1, ge=1, le=10_000)
    recurrence: dict[str, Any] | None = None
    grow: Operator | None = None
    regulariser: float | None = Field(None, ge=0)
    evaluate: Evaluation | None = None
    checkpoint: bool = False

    @property
    def after(self) -> bool:
        """Return whether the event only measures or saves, so that it may follow the last step."""
        changes = self.model_dump(exclude={"step", "times", "evaluate", "checkpoint"})
        return not any(value is not None for value in changes.values())


class Checkpoints(_Part):
    """Checkpoints of a run.

    Args:
        every: steps between checkpoints.
        keep: number of newest checkpoints to keep, besides milestones.
        best: also keep the checkpoint with the lowest held-out loss.
    """

    every: int = Field(1000, ge=1, le=STEPS)
    keep: int = Field(2, ge=1, le=STEPS)
    best: bool = False


class Run(_Part):
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
    compiled = (
        *("add", "concat", "diagonal", "damped", "substeps", "hyper", "selective_gate"),
        *("loop_embedding", "loop_gate", "loop_lora", "time_step"),
        *("zero", "norm", "end_norm", "linear"),
    )
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
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: byte {error.start} is not UTF-8") from error
    fields = read_yaml(text, str(path))
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
