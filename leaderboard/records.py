"""One result: what was measured on which task of which model, and how.

A record is a frozen pydantic model with a version. Fields without a value are left out of its JSON,
so a field that is added later changes no record that is there already, and the SHA-256 of that
JSON (:attr:`Record.id`) names it for ever.
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

SHARES = ("acc", "acc_norm")  # metrics that lie between 0 and 1
RANGES = {"depth_score": SHARE, "overlap": SHARE, "periodicity": CHANGE, "cosine": CHANGE}
"""Bounded metric, other than an accuracy -> range."""
NEAR = 1e-6  # that rounding takes a value beyond its range
MOST = 30  # times the standard error that as many right and wrong answers have: more is no mean


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Growth(_Part):
    """A growth step: ``operator`` made ``after`` layers of ``before``.

    Args:
        sources: the layer each new one was copied from, as a schedule.
    """

    operator: Name
    before: Layers
    after: Layers
    sources: Notation | None = None


class Model(_Part):
    """A checkpoint.

    Args:
        name: what it is called; the same for runs that differ in their seed alone.
        family: ``standard``; ``looped`` (trained with shared layers); ``grown``; ``grown-looped``;
            ``retrofitted`` (a loop was added late in training); ``untied`` (looped, then given
            layers of its own). A loop at inference alone changes the schedule of the record only.
        size: of the configuration it belongs to, e.g. 360M.
        seed: of its training.
        schedule: that it runs by itself.
        unique_layers: different layers it has.
        effective_layers: layers that run.
        growth: its growth steps.
        training_flops: spent on it in all.
        training_tokens: it has seen.
        recipe: what else sets it apart: first the mixture of its cooldown, if it has one of its
            own, then after a comma anything else.
        source: where it is from: a hub id, a paper, a run.
        digest: SHA-256 of its content (weights, config, tokenizer), of a model in files. Records
            of one digest are of one model, whatever it is called.
        training: digest of what decided its weights except the seed, of ``growloop train``.
        step: of its training.
        revision: commit of a hub model.
        changes: what was done to the weights or the tokenizer when it was loaded: an adapter,
            quantization.
        folder: last parts of the path it was loaded from, to tell models of one name apart.
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
        """Of its cooldown; empty if it is that of the rest of the training."""
        return (self.recipe or "").partition(",")[0]

    @property
    def content(self) -> tuple[str, ...] | None:
        """What the model is: equal of the same weights alone; None where it is not known."""
        if self.digest is not None:
            return self.digest, self.changes or ""
        if self.revision is not None:
            return self.source or self.name, self.revision, self.changes or ""
        return None

    @property
    def described(self) -> tuple[str, ...]:
        """What tells models apart whose content is not known, their seeds apart.

        Which records are of one model is said by :class:`.identities.Identities`.
        """
        operators = ",".join(step.operator for step in self.growth)
        parts = (self.name, self.family, self.size, self.schedule, self.recipe, self.source)
        return (*("" if part is None else part for part in parts), operators, self.changes or "")

    @property
    def identity(self) -> tuple[str, ...]:
        """The same, and how its weights were trained."""
        return (*self.described, self.training or "")


class Task(_Part):
    """What was asked.

    Args:
        version: of the task; scores of different versions are not comparable.
        fingerprint: of the data, e.g. the SHA-256 of the items.
        shots: examples before each question.
        split: that the items are of.
        prompting: what else changes the questions, e.g. fixed shots or a chat template.
        metric: that the value is of.
        chance: value of guessing.
        higher_is_better: whether more is better.
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
        """Scores are comparable if this is equal."""
        parts = (self.name, self.metric, self.version, self.fingerprint, self.shots, self.split)
        return tuple("" if part is None else str(part) for part in (*parts, self.prompting))


class Cost(_Part):
    """What the model costs as it ran, i.e. under the schedule of the record.

    Args:
        unique_parameters: weights used, each once.
        effective_parameters: weights applied: a layer counts as often as it runs.
        inference_flops: for one token of a sequence of ``seq_len``.
    """

    unique_parameters: Count | None = None
    effective_parameters: Count | None = None
    inference_flops: Size | None = None
    seq_len: Count | None = None


class Record(_Part):
    """One measured (or, with ``kind="reported"``, quoted) value.

    Args:
        value: finite; accuracies from 0 to 1.
        stderr: its standard error over items.
        n: items.
        schedule: that ran, where it is not the model's own.
        loops: how often the looped block ran.
        seed: of the data, or of what was trained for this measurement.
        study: that measured it; None for ``growloop eval``.
        conditions: what the study varied, by name, e.g. ``{"block": "8:12", "examples": 64}``.
        dtype: that the model ran in.
        settings: options that change how numbers are computed, where they are not the usual ones,
            e.g. ``{"softmax_dtype": "float32"}``.
        backend: that scored it.
        time: when it was measured.
        source: file or table it was read from.

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
        if self.task.metric in SHARES and not 0 <= self.value <= 1:
            raise ValueError(
                f"value: {self.value} is no {self.task.metric}, which is from 0 to 1 (not percent)"
            )
        low, high = RANGES.get(self.task.metric, (-math.inf, math.inf))
        if not low - NEAR <= self.value <= high + NEAR:
            raise ValueError(
                f"value: {self.value} is no {self.task.metric}, which is from {low:g} to {high:g}"
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
        """The one line that is stored: what has its default is left out, names are sorted."""
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        return canonical({**fields, "version": self.version})

    @cached_property
    def id(self) -> str:
        """SHA-256 of the record."""
        return digest(self.to_json())

    @property
    def cell(self) -> tuple[str, ...]:
        """What was measured on what: the same again is a repetition, not a further sample."""
        return (
            self.kind,
            *(self.model.content or self.model.described),
            *self.task.key,
            str(self.model.seed),
            *self.asked,
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """How it was measured, beside model and task."""
        return (
            str(self.seed),
            *(str(part) for part in (self.schedule, self.loops, self.study)),
            json.dumps(self.conditions, sort_keys=True),
            *self.arithmetic,
        )

    @property
    def arithmetic(self) -> tuple[str, str]:
        """Precision and settings, under which the same weights give slightly other numbers."""
        return str(self.dtype), json.dumps(self.settings, sort_keys=True) if self.settings else ""

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """Read a record of any version.

        Raises:
            InputError: naming the field and what is wrong with it.
        """
        return cls.from_fields(parse(text))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Record:
        """A record from a dictionary, as JSON has it.

        Raises:
            InputError: as :meth:`from_json`.
        """
        check_version(fields)
        try:
            return cls.model_validate(dict(fields))
        except ValidationError as error:
            raise InputError("; ".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> list[str]:
    """``model.name: what is wrong``, for the first five of what is wrong."""
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
