"""Records: one value each, with its model, task and measurement.

A record is a frozen pydantic model with a version. Its JSON omits fields without a value, so a
field added later changes no stored record. The SHA-256 of that JSON (:attr:`Record.id`) identifies
the record permanently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from ..core.errors import InputError, shown
from ..core.statistics import CHANGE, SHARE
from .json_text import canonical, digest, parse
from .record_version import VERSION, check_version
from .text_fields import Line, Name, Notation, Text

Count = Annotated[int, Field(strict=True, ge=0, le=10**18)]
Number = Annotated[float, Field(strict=True, ge=-1e100, le=1e100, allow_inf_nan=False)]
Size = Annotated[float, Field(strict=True, ge=0, le=1e100, allow_inf_nan=False)]
Layers = Annotated[int, Field(strict=True, ge=1, le=10**6)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True, ge=-(10**18), le=10**18)]
Condition = Annotated[bool, Field(strict=True)] | Whole | Number | Line

Digest = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
Items = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Parts = Annotated[tuple[Line, ...], Field(max_length=5)]

SHARES = ("acc", "acc_norm")  # metrics from 0 to 1
RANGES = {"depth_score": SHARE, "overlap": SHARE, "periodicity": CHANGE, "cosine": CHANGE}
"""Bounded metrics other than accuracies -> range."""
NEAR = 1e-6  # tolerance at the ends of a range, for rounding
MOST = 30  # largest ratio of a standard error to the binomial one of a valid mean


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Growth(_Part):
    """Growth step.

    Args:
        operator: growth operator.
        before, after: number of layers before and after.
        sources: layer that each new one was copied from, as a schedule.
    """

    operator: Name
    before: Layers
    after: Layers
    sources: Notation | None = None


class Model(_Part):
    """Checkpoint.

    Args:
        name: name of the model; equal for runs that differ in their seed only.
        family: ``standard``; ``looped`` (trained with shared layers); ``grown``; ``grown-looped``;
            ``retrofitted`` (a loop was added late in training); ``untied`` (looped, then each
            step given its own layer). A loop at inference only changes the record's schedule.
        size: size of its configuration, e.g. 360M.
        seed: training seed.
        schedule: default schedule of the checkpoint.
        unique_layers: number of layers with weights of their own.
        effective_layers: number of layers that run.
        growth: growth steps.
        training_flops: FLOPs of the whole training.
        training_tokens: number of training tokens.
        recipe: training recipe, if not the usual one: the mixture of the cooldown, then, after a
            comma, anything else.
        source: origin: a hub id, a paper, a run.
        digest: SHA-256 of the model's files (weights, config, tokenizer). Records with the same
            digest are of the same model, whatever its name.
        training: digest of everything but the seed that decided the weights, from
            ``growloop train``.
        step: training step.
        revision: commit of a hub model.
        changes: changes to weights or tokenizer at loading: an adapter, quantization.
        folder: last parts of the path, to distinguish models of the same name.
    """

    name: Name
    family: Literal[
        "standard", "looped", "grown", "grown-looped", "retrofitted", "untied", "unknown"
    ] = "unknown"
    size: Name | None = None
    seed: Count | None = None
    schedule: Notation | None = None
    unique_layers: Count | None = None
    effective_layers: Count | None = None
    growth: Annotated[tuple[Growth, ...], Field(max_length=200)] = ()
    training_flops: Size | None = None
    training_tokens: Count | None = None
    recipe: Line | None = None
    source: Line | None = None
    digest: Digest | None = None
    training: Name | None = None
    step: Count | None = None
    revision: Line | None = None
    changes: Line | None = None
    folder: Parts = ()

    @property
    def mixture(self) -> str:
        """Mixture of the cooldown; empty if it is that of the rest of the run."""
        return (self.recipe or "").partition(",")[0]

    @property
    def content(self) -> tuple[str, ...] | None:
        """Key of the weights, equal for the same weights only; None if unknown."""
        if self.digest is not None:
            return self.digest, self.changes or ""
        if self.revision is not None:
            return self.source or self.name, self.revision, self.changes or ""
        return None

    @property
    def described(self) -> tuple[str, ...]:
        """Key from the description, for models whose weights are unknown; without the seed.

        :class:`.model_identities.ModelIdentities` decides which records are of the same model.
        """
        operators = ",".join(step.operator for step in self.growth)
        parts = (self.name, self.family, self.size, self.schedule, self.recipe, self.source)
        return (*("" if part is None else part for part in parts), operators, self.changes or "")

    @property
    def identity(self) -> tuple[str, ...]:
        """Key from the description and the digest of the training."""
        return (*self.described, self.training or "")


class Task(_Part):
    """Task of a record, with everything that decides whether values are comparable.

    Args:
        name: name of the task.
        version: version of the task; scores of different versions are not comparable.
        fingerprint: fingerprint of the data, e.g. the SHA-256 of the items.
        shots: few-shot examples per question.
        split: split of the items.
        prompting: other changes to the prompts, e.g. fixed shots or a chat template.
        metric: metric of the value.
        chance: value of guessing.
        higher_is_better: whether a larger value is better.
    """

    name: Name
    version: Name | None = None
    fingerprint: Name | None = None
    shots: Count | None = None
    split: Name | None = None
    prompting: Line | None = None
    metric: Name = "acc"
    chance: Share | None = None
    higher_is_better: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """Key that is equal for comparable scores."""
        parts = (self.name, self.metric, self.version, self.fingerprint, self.shots, self.split)
        return tuple("" if part is None else str(part) for part in (*parts, self.prompting))


class Cost(_Part):
    """Cost of the model under the schedule of the record.

    Args:
        unique_parameters: parameters, each counted once.
        effective_parameters: parameters with each layer counted as often as it runs.
        inference_flops: forward FLOPs per token, in a sequence of ``seq_len`` tokens.
        seq_len: length of that sequence.
    """

    unique_parameters: Count | None = None
    effective_parameters: Count | None = None
    inference_flops: Size | None = None
    seq_len: Count | None = None


class Record(_Part):
    """One measured (or, with ``kind="reported"``, quoted) value.

    Args:
        version: version of this format.
        kind: ``measured``, or ``reported`` by a paper.
        model: model that was scored.
        task: task, metric and conditions of the evaluation.
        value: finite value; accuracies from 0 to 1.
        stderr: standard error of the value over items.
        n: number of items.
        cost: parameters and inference FLOPs of the model.
        schedule: schedule that ran, if not the model's own.
        loops: number of passes of the looped block in all.
        seed: seed of the data, or of what was trained for this measurement.
        study: name of the study; None for ``growloop eval``.
        conditions: variables of the study, e.g. ``{"block": "8:12", "examples": 64}``.
        dtype: dtype of the model.
        settings: options that change numerics, if not the defaults, e.g.
            ``{"softmax_dtype": "float32"}``.
        backend: backend that scored.
        device: device that scored.
        versions: package -> version.
        command: command that measured the value.
        time: time of the measurement.
        source: file or table that the record was read from.
        note: anything else worth knowing.

    >>> record = Record(model=Model(name="tiny"), task=Task(name="copying"), value=0.5, n=100)
    >>> Record.from_json(record.to_json()) == record
    True
    """

    version: Literal[1] = VERSION
    kind: Literal["measured", "reported"] = "measured"
    model: Model
    task: Task
    value: Number
    stderr: Size | None = None
    n: Items | None = None
    cost: Cost = Cost()
    schedule: Notation | None = None
    loops: Count | None = None
    seed: Count | None = None
    study: Name | None = None
    conditions: Annotated[dict[Name, Condition], Field(max_length=50)] = Field(default_factory=dict)
    dtype: Name | None = None
    settings: Annotated[dict[Name, Condition], Field(max_length=50)] = Field(default_factory=dict)
    backend: Name | None = None
    device: Name | None = None
    versions: Annotated[dict[Name, Line], Field(max_length=50)] = Field(default_factory=dict)
    command: Text | None = None
    time: AwareDatetime | None = None
    source: Line | None = None
    note: Text | None = None

    @model_validator(mode="after")
    def _within_range(self) -> Record:
        """Refuse a value outside its metric's range, or a standard error that ``n`` rules out."""
        if self.task.metric in SHARES and not 0 <= self.value <= 1:
            raise ValueError(
                f"value: {self.value} is out of range: {self.task.metric} is from 0 to 1 "
                "(not percent)"
            )
        low, high = RANGES.get(self.task.metric, (-math.inf, math.inf))
        if not low - NEAR <= self.value <= high + NEAR:
            raise ValueError(
                f"value: {self.value} is out of range: {self.task.metric} is from {low:g} to "
                f"{high:g}"
            )
        if self.task.metric in SHARES and self.stderr is not None and self.n is not None:
            spread = self.value * (1 - self.value)
            usual = math.sqrt(spread / max(1, self.n - 1))
            far = self.stderr > MOST * usual or 0 < self.stderr < usual / MOST**2
            if self.stderr > 1 or (spread > 0 and far):
                raise ValueError(
                    f"stderr: {self.stderr:g} does not fit {self.n:,} items (n), whose mean "
                    f"{self.value:g} is known to about {usual:.1g}"
                )
        return self

    @field_validator("time", mode="before")
    @classmethod
    def _no_number(cls, time: Any) -> Any:
        if isinstance(time, (int, float)):
            raise ValueError("a date and time as text is needed")
        return time

    @field_validator("time")
    @classmethod
    def _of_our_days(cls, time: AwareDatetime | None) -> AwareDatetime | None:
        # the year is that of UTC, in which it is stored; other zones of year 1 or 9999 have none
        if time is not None and not (
            2 <= time.year <= 9998 and 1970 <= time.astimezone(UTC).year <= 9998
        ):
            raise ValueError("a time from 1970 to 9998 is needed")
        return time

    @field_serializer("time")
    def _in_utc(self, time: AwareDatetime | None) -> str | None:
        return None if time is None else time.astimezone(UTC).isoformat()

    def to_json(self) -> str:
        """Return the stored line of JSON: without defaults, names sorted."""
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        return canonical({**fields, "version": self.version})

    @cached_property
    def id(self) -> str:
        """SHA-256 of the record's JSON."""
        return digest(self.to_json())

    @property
    def cell(self) -> tuple[str, ...]:
        """Key of the measurement: equal keys are repetitions, not further samples."""
        return (
            self.kind,
            *(self.model.content or self.model.described),
            *self.task.key,
            str(self.model.seed),
            *self.measurement,
        )

    @property
    def measurement(self) -> tuple[str, ...]:
        """Key of everything but model and task: seed, schedule, study, conditions, numerics."""
        return (
            str(self.seed),
            *(str(part) for part in (self.schedule, self.loops, self.study)),
            json.dumps(self.conditions, sort_keys=True),
            *self.arithmetic,
        )

    @property
    def arithmetic(self) -> tuple[str, str]:
        """Precision and settings: the same weights give slightly different numbers under others."""
        return str(self.dtype), json.dumps(self.settings, sort_keys=True) if self.settings else ""

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """Read a record of any version.

        Raises:
            InputError: the record is invalid; the message names field and problem.
        """
        return cls.from_fields(parse(text))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Record:
        """Build a record from a dictionary, as parsed from JSON.

        Raises:
            InputError: as :meth:`from_json`.
        """
        check_version(fields)
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            raise InputError("; ".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> list[str]:
    """Format the first five problems as ``model.name: problem``."""
    found: dict[str, None] = {}
    for wrong in error.errors(include_url=False):
        place = ".".join(_step(part) for part in wrong["loc"])
        reason = wrong["msg"].removeprefix("Value error, ")
        given = wrong.get("input")
        if wrong["type"] == "extra_forbidden":
            reason = "there is no such field"
        elif wrong["type"] == "missing":
            reason = "it is missing"
        elif isinstance(given, (str, int, float, bool)):
            reason = f"{reason} (given {shown(given)})"
        found[f"{place}: {reason}" if place else reason] = None
    return list(found)[:5]


def _step(part: int | str) -> str:
    text = str(part)
    return text if text.isidentifier() and len(text) <= 40 else shown(part)
