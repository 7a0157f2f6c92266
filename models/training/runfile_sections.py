"""Sections of a run file: model, data, optimizer, growth, events and checkpoints.

Defaults follow the paper's recipe, or SmolLM-v1's published one where the paper gives no value.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from ...core.errors import shown
from ...core.schedule import Schedule
from ..growing.registry import OPERATORS, accepted_options, find_operator, is_reference
from ..looping.recurrence import Recurrence
from .data.rows import Columns
from .fields import check_number

STEPS = 10**9 - 1  # checkpoint names have nine digits


class Section(BaseModel):
    """Fields of a section; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_for_number(cls, value: Any, info: ValidationInfo) -> Any:
        return check_number(value, cls.model_fields[info.field_name or ""].annotation)


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
Share = Annotated[float, Field(ge=0, lt=1)]


class Lora(Section):
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


class Model(Section):
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
            raise ValueError("options change a preset: the checkpoint of path has its own config")
        if self.preset is not None and self.untie:
            raise ValueError("untie needs path: the checkpoint of a looped model")
        if self.schedule is not None:
            Schedule.parse(self.schedule)
        Recurrence.from_dict(self.recurrence)
        return self


class Stage(Section):
    """Stage of a curriculum of generated lessons.

    Args:
        lessons: lesson name (see :mod:`.lessons`) -> share. The first lesson is the main one.
        until: the stage ends when the running loss of the main lesson, in nats a target, is lower.
        max_share: the stage ends at the latest after this share of the run's steps; 1 for no limit.
    """

    lessons: dict[str, float] = Field(min_length=1)
    until: float = Field(0.0, ge=0)
    max_share: float = Field(1.0, gt=0, le=1)

    @model_serializer(mode="wrap")
    def _leave_out_no_limit(self, serialize: Any) -> dict[str, Any]:
        """Write a stage without a limit as before limits existed: the run's digests stay."""
        fields: dict[str, Any] = serialize(self)
        if self.max_share == 1:
            del fields["max_share"]
        return fields


class Data(Section):
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


class Optimizer(Section):
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


class Growth(Section):
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
            raise ValueError(f"{min(own)} has a field of its own: it is not one of the options")
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


class Evaluation(Section):
    """Tasks to score the model on.

    Args:
        tasks: task names, as for ``growloop eval --tasks``.
        shots: few-shot examples before each question; by default those of the task.
        limit: most questions of each task; None for all.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    shots: int | None = Field(None, ge=0, le=10**5)
    limit: int | None = Field(None, ge=1, le=10**9)


class Event(Section):
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


class Checkpoints(Section):
    """Checkpoints of a run.

    Args:
        every: steps between checkpoints.
        keep: number of newest checkpoints to keep, besides milestones.
        best: also keep the checkpoint with the lowest held-out loss.
    """

    every: int = Field(1000, ge=1, le=STEPS)
    keep: int = Field(2, ge=1, le=STEPS)
    best: bool = False
