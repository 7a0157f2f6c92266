"""Evaluation requests: everything that one evaluation depends on, resolved and checked once.

An :class:`EvaluationRequest` names a model, tasks and how to score. The command line and the Python
functions build it from flat keyword arguments (:meth:`EvaluationRequest.of`); the functions that
run it take the typed parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..core.errors import InputError, unknown, whole
from .catalog import ITEMS, check_params
from .loaded import check_loaded
from .loading import DTYPES


@dataclass(frozen=True)
class ModelSource:
    """Model to load, and what happens to it before scoring.

    Args:
        name: hub id, local folder, GGUF file, or ``package:NAME`` (see
            :func:`.loading.model_arguments`).
        prepare: function that changes the loaded Hugging Face model in place, e.g. loops its
            layers.
        schedules: function from the loaded and prepared model to the schedules to score:
            ``Schedule`` objects, or lists of layers. None for the model's current one.
        loaded: model of transformers that is loaded already; ``name`` is then its name in results,
            and ``prepare`` gets a twin of it (:func:`.loaded.twin`).
        tokenizer: tokenizer of ``loaded``.

    Raises:
        InputError: a loaded model that cannot be scored, or one without a tokenizer.
    """

    name: str
    prepare: Callable[[Any], object] | None = None
    schedules: Callable[[Any], Sequence[Any]] | None = None
    loaded: Any = None
    tokenizer: Any = None

    def __post_init__(self) -> None:
        if self.loaded is not None:
            check_loaded(self.loaded, self.tokenizer)


@dataclass(frozen=True)
class TaskSelection:
    """Tasks to score, and how many items and few-shot examples of each.

    Args:
        names: growloop's names (with parameters after colons), groups, or any task of lm-eval.
        params: parameters for all of growloop's tasks that have them.
        shots: few-shot examples per question; by default each task's own number (growloop's: 5).
            Several numbers make a curve: each of growloop's tasks once per number, as
            ``name@number``, where smaller numbers use the first examples of larger ones.
        fixed_shots: use the same examples for all questions.
        limit: questions per task; None for all. Of growloop's tasks so many items are generated,
            as with ``count``: the same items have the same fingerprint, however they were named.
        count: test items of growloop's tasks.
        seed: seed of test items and examples.
        trust_task_code: let task files given by path run the code that they name.

    Raises:
        InputError: a value that is not allowed.
    """

    names: Sequence[str]
    params: Mapping[str, object] = field(default_factory=dict)
    shots: int | Sequence[int] | None = None
    fixed_shots: bool = False
    limit: int | None = None
    count: int = ITEMS
    seed: int = 0
    trust_task_code: bool = False

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("no tasks given: try --tasks reasoning_primitives")
        whole("items", self.count, 1, 10**7)
        if isinstance(self.shots, Sequence) and (
            not self.shots or len(set(self.shots)) < len(self.shots)
        ):
            raise InputError("--shots takes numbers that differ, such as 0,1,2,4")
        for number in self.curve or ([] if self.most_shots is None else [self.most_shots]):
            whole("shots", number, 0, 10**5)
        if self.limit is not None:
            whole("limit", self.limit, 1, 10**9)
        check_params(self.params)

    @property
    def curve(self) -> list[int]:
        """Numbers of shots of a curve, ascending; empty for a single number."""
        return sorted(self.shots) if isinstance(self.shots, Sequence) else []

    @property
    def items(self) -> int:
        """Number of generated test items a task: the smaller of ``count`` and ``limit``."""
        return self.count if self.limit is None else min(self.count, self.limit)

    @property
    def most_shots(self) -> int | None:
        """Number of shots; of a curve the largest."""
        return max(self.shots) if isinstance(self.shots, Sequence) else self.shots


@dataclass(frozen=True)
class ScoringOptions:
    """Options for loading and scoring a model.

    Args:
        device, dtype, batch_size: as lm-eval's; the device is a GPU by default if there is one.
        backend: ``growloop`` computes shared prefixes of requests once, ``hf`` is lm-eval's own;
            both give the same numbers.
        pack: tokens per forward pass of ``growloop``; by default what suits the device.
        forwarded: lm-eval options by name, from the table in docs/evaluation.md.

    Raises:
        InputError: a value that is not allowed.
    """

    device: str | None = None
    dtype: str = "auto"
    batch_size: int | str = 1
    backend: str = "growloop"
    pack: int | None = None
    forwarded: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pack is not None:
            whole("tokens at once (--pack)", self.pack, 16, 10**7)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)


@dataclass(frozen=True)
class EvaluationRequest:
    """Model, tasks and scoring of one evaluation.

    >>> request = EvaluationRequest.of("./checkpoint", ["copying_real_words"], shots=2)
    >>> request.tasks.shots, request.scoring.backend
    (2, 'growloop')
    """

    source: ModelSource
    tasks: TaskSelection
    scoring: ScoringOptions = field(default_factory=ScoringOptions)

    @classmethod
    def of(cls, model: str, tasks: Sequence[str], **settings: Any) -> EvaluationRequest:
        """Build a request from flat keyword arguments, the fields of its parts.

        Raises:
            InputError: a value that is not allowed.
            TypeError: a keyword that no part has.
        """
        source = ModelSource(model, **_taken(ModelSource, settings))
        selection = TaskSelection(tasks, **_taken(TaskSelection, settings))
        return cls(source, selection, scoring_options(settings))


def scoring_options(settings: dict[str, Any]) -> ScoringOptions:
    """Build scoring options from keyword arguments; None counts as left out for mappings.

    Raises:
        InputError: a value that is not allowed.
        TypeError: a keyword that is not a scoring option.
    """
    own = _taken(ScoringOptions, settings)
    if settings:
        raise TypeError(f"unexpected keyword argument {next(iter(settings))!r}")
    return ScoringOptions(**own)


def _taken(part: type[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the arguments of a part from ``settings`` and return them, without ``None``."""
    names = [f.name for f in fields(part) if f.name in settings]
    own = {name: settings.pop(name) for name in names}
    return {name: value for name, value in own.items() if value is not None}
