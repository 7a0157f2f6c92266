"""A run file: everything that decides a training run, checked before it starts.

YAML, validated by pydantic; what is not written has the value of the paper's recipe (SmolLM-v1's
published one where the paper is silent). ``load("run.yaml", ["optimizer.lr=1e-3"])``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ...core.errors import InputError, shown
from ...core.names import name_problem
from ...core.schedule import Schedule
from ..growing.maps import OPERATORS, GrowthMap, growth_maps, prop_schedule
from ..looping.recurrence import Recurrence
from .data.rows import Columns
from .fields import check_number, override, sentence
from .yaml_text import read_yaml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return check_number(value, cls.model_fields[info.field_name or ""].annotation)


def _folder_name(name: str) -> str:
    if wrong := name_problem(name):
        raise ValueError(f"a run cannot be called {shown(name)}, which {wrong}")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, lt=1)]
STEPS = 10**9 - 1  # a checkpoint is called step- and nine digits
MOST = 10  # things wrong in a run file that a message names


class Lora(_Part):
    """Low-rank adapters on the linear maps of the layers (LoRA, through PEFT).

    Args:
        rank: of the adapters.
        alpha: scale; the update is ``alpha / rank`` times their product. By default twice the rank.
        dropout: before them.
        modules: names of the maps; by default all linear ones but the head.
    """

    rank: int = Field(16, ge=1, le=2**16)
    alpha: float | None = Field(None, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    modules: tuple[str, ...] = ()


class Model(_Part):
    """What is trained.

    Args:
        preset: a name in ``PRESETS``; or
        path: a checkpoint to start from.
        options: fields of the config to change, with ``preset``.
        schedule: how the layers run from the start.
        recurrence: what happens between loops; fields of :class:`Recurrence`.
        untie: give each step of a looped model a layer of its own first.
        lora: train low-rank adapters alone.
    """

    preset: str | None = None
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    schedule: str | None = None
    recurrence: dict[str, Any] = Field(default_factory=dict)
    untie: bool = False
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Model:
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
    """Part of a curriculum of generated lessons.

    Args:
        lessons: share of each by name; see :mod:`.lessons`. The first is the main one.
        until: running loss of the main lesson, in nats a target, below which the stage ends.
    """

    lessons: dict[str, float] = Field(min_length=1)
    until: float = Field(0.0, ge=0)


class Data(_Part):
    """What it is trained on: sources, a curriculum, or examples.

    Args:
        sources: folders of token shards by name.
        mixture: share of each; equal shares if not given.
        curriculum: stages of generated lessons.
        examples: a file of examples, for fine-tuning.
        columns: that are read of it; by default those that its first row has.
        delimiter: between prompt and target; by default a space, nothing in data of TRL and Alpaca.
        chat_template: a file with the template that renders messages; by default the model's own.
        pack: several examples a sequence.
        seq_len: tokens a sequence.
        batch_size: sequences a step, over all processes; with ``examples``, examples.
        validation: a folder of token shards, or a file of examples, for the held-out loss.
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
    def _one_kind(self) -> Data:
        if sum(map(bool, (self.sources, self.curriculum, self.examples))) != 1:
            raise ValueError("give sources, a curriculum or examples, one of them")
        if self.curriculum and self.validation:
            raise ValueError("a curriculum needs no validation: no item comes twice")
        for name in ("columns", "delimiter", "chat_template"):
            if getattr(self, name) is not None and self.examples is None:
                raise ValueError(f"{name} says how examples are read: give examples")
        if self.mixture and not self.sources:
            raise ValueError("a mixture is of sources: lessons have their shares, examples none")
        return self

    def shares(self) -> dict[str, float]:
        """The share of each source."""
        return dict(self.mixture) or {name: 1 / len(self.sources) for name in self.sources}


class Optimizer(_Part):
    """AdamW, or Muon for the matrices of the layers and AdamW for the rest.

    Args:
        lr: peak learning rate (of AdamW).
        muon_lr: peak learning rate of Muon.
        warmup: steps of linear warm-up.
        cooldown: steps of linear decay to 0 at the end.
        clip: gradient norm.
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
    """Growth stages: from ``block_size`` layers to the model's depth, in PROP-alpha steps.

    Args:
        operator: how it grows.
        block_size: layers of the first stage, and added by each step.
        alpha: of PROP.
        steps: over all stages; by default all but the cooldown.
        order: of ``lidas``.
    """

    operator: str = "lidas"
    block_size: int = Field(4, ge=1, le=10_000)
    alpha: float = 1.0
    steps: int | None = Field(None, ge=1, le=STEPS)
    order: Literal["contiguous", "inserted"] | None = None

    @property
    def options(self) -> dict[str, int | str]:
        """What the operator takes."""
        found: dict[str, int | str] = {"block_size": self.block_size}
        if self.order is not None:
            found["order"] = self.order
        return found


class Evaluation(_Part):
    """Tasks to score the model on.

    Args:
        tasks: as ``growloop eval --tasks`` takes them.
        shots: examples before each question; by default the task's.
        limit: questions a task; all if None.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    shots: int | None = Field(None, ge=0, le=10**5)
    limit: int | None = Field(None, ge=1, le=10**9)


class Event(_Part):
    """Something that happens before a step.

    Args:
        step: before which.
        mixture: new shares of the sources, or of the lessons whatever is learned then.
        schedule: another schedule from now on.
        repeat: repeat a block ``start:stop`` of the schedule, ``times`` more often (retrofit).
        recurrence: what happens between loops from now on.
        grow: an operator with its default options, or a list of source layers.
        regulariser: weight of the looping regulariser from now on.
        evaluate: score the model; the metrics get ``accuracy/TASK``.
        checkpoint: keep a checkpoint for good.
    """

    step: int = Field(ge=0, le=STEPS)
    mixture: dict[str, float] | None = None
    schedule: str | None = None
    repeat: tuple[int, int] | None = None
    times: int = Field(1, ge=1, le=10_000)
    recurrence: dict[str, Any] | None = None
    grow: str | None = None
    regulariser: float | None = Field(None, ge=0)
    evaluate: Evaluation | None = None
    checkpoint: bool = False

    @property
    def after(self) -> bool:
        """Whether it looks at what was trained, so that it may come after the last step."""
        changes = self.model_dump(exclude={"step", "times", "evaluate", "checkpoint"})
        return not any(value is not None for value in changes.values())


class Checkpoints(_Part):
    """When the state is saved.

    Args:
        every: steps between checkpoints.
        keep: newest ones kept, beside milestones.
        best: keep the one with the lowest held-out loss too.
    """

    every: int = Field(1000, ge=1, le=STEPS)
    keep: int = Field(2, ge=1, le=STEPS)
    best: bool = False


class Run(_Part):
    """A training run.

    Args:
        name: of the run.
        seed: of weights and data order.
        steps: optimizer steps.
        micro_batch_size: sequences a forward pass on each process; the rest is accumulated.
        patience: stop early after so many validations in a row without a lower held-out loss.
        precision: of matrix products: ``fp32``, or ``bf16`` autocast.
        parallel: what several processes do: ``ddp``, each holds the whole model; ``fsdp2``, each
            holds its share of the parameters, their gradients and optimizer states.
        regulariser: weight of the looping regulariser (Saunshi 2025), with blocks of
            ``regulariser_block`` layers; it rewards alike layers one block apart.
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
    def _fits_together(self) -> Run:
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
                raise ValueError("evaluate and checkpoint look at what was trained: not at step 0")
            if event.mixture and self.data.examples:
                raise ValueError("an event's mixture is of sources or lessons: examples have none")
        model = self.model
        if self.growth is not None and (model.path or model.schedule or model.recurrence):
            raise ValueError(
                "growth is from one block to the depth of model.preset: it goes with no path, "
                "schedule or recurrence (loop the grown model by an event)"
            )
        if self.growth is not None and self.growth.operator not in OPERATORS:
            near = get_close_matches(self.growth.operator, OPERATORS, n=1)
            hint = f" did you mean {near[0]}?" if near else ""
            raise ValueError(f"unknown growth operator '{self.growth.operator}':{hint}")
        return self

    def regulariser_at(self, step: int) -> float:
        """Weight of the looping regulariser at a step."""
        found = [(e.step, e.regulariser) for e in self.events if e.regulariser is not None]
        past = [weight for begun, weight in sorted(found) if begun <= step]
        return past[-1] if past else self.regulariser

    def hash(self) -> str:
        """What tells two runs apart."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def growth_steps(self, depth: int) -> list[tuple[int, GrowthMap]]:
        """Before which step which map is applied, to reach ``depth`` layers.

        Raises:
            InputError: a depth that the operator does not reach from one block.
        """
        if self.growth is None:
            return []
        growth = self.growth
        maps = growth_maps(growth.operator, growth.block_size, depth, **growth.options)
        steps = growth.steps or self.steps - self.optimizer.cooldown
        stages = prop_schedule(steps, len(maps) + 1, growth.alpha)
        return list(zip(accumulate(stages[:-1]), maps, strict=True))


def load(path: str | Path, overrides: Sequence[str] = ()) -> Run:
    """Read a run file.

    Args:
        overrides: ``optimizer.lr=1e-3`` and the like, after what the file says.

    Raises:
        InputError: what is wrong and where, one sentence for each.
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
    for text in overrides:
        override(fields, text)
    return parse(fields, str(path))


def parse_stored(fields: dict[str, Any], where: str) -> Run:
    """A run from a checkpoint, where ``8-24`` can only be two blocks.

    Raises:
        InputError: what is wrong and where.
    """
    fields = copy.deepcopy(fields)
    for part in (fields.get("model") or {}, *(fields.get("events") or ())):
        for name in ("schedule", "grow"):
            if re.fullmatch(r"[\d\s]+(-[\d\s]+)+", str(part.get(name))):
                part[name] = str(Schedule.parse(part[name], stored=True))
    return parse(fields, where)


def parse(fields: dict[str, Any], where: str = "run") -> Run:
    """A run from a dictionary.

    Raises:
        InputError: what is wrong and where.
    """
    try:
        return Run.model_validate(fields)
    except ValidationError as error:
        found = [sentence(e, Run) for e in error.errors(include_url=False)]
        more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
        raise InputError(f"{where}: {'; '.join(found[:MOST])}{more}") from error
