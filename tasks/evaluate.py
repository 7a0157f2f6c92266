"""Evaluation of a model on tasks through lm-eval: what ``growloop eval`` does.

growloop's tasks are built here, with any parameters; lm-eval computes their metrics. Options of
lm-eval are those of the table in :mod:`..core.lm_eval_options`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.published_code import check_start
from .answer_cache import answers_file
from .catalog import SHOTS
from .evaluation_request import EvaluationRequest, ModelSource, ScoringOptions, TaskSelection
from .forwarded import forwarded
from .loaded import check_loaded_options, same_random_state, wrap_loaded
from .loading import (
    DTYPES,
    best_device,
    check_device,
    first_sentence,
    load_model,
    local_files,
    model_arguments,
    require_extra,
)
from .notes import translate
from .scoring.planning import Plan, check_sizes, no_tasks, their_tasks, unknown_task
from .scoring.processes import first

__all__ = [
    "DTYPES",
    "EvaluationRequest",
    "Plan",
    "ScoringOptions",
    "TaskSelection",
    "best_device",
    "check_device",
    "evaluate",
    "evaluate_schedules",
    "harness",
    "load_model",
    "model_arguments",
    "quiet",
    "require_extra",
    "score",
    "unknown_task",
]


def evaluate(model: str, tasks: Sequence[str], **settings: Any) -> dict[str, Any] | None:
    """Score a model on tasks; return lm-eval's results, or None on all processes but the first.

    Args:
        model: hub id, local folder, GGUF file, or ``package:NAME`` (see :func:`model_arguments`).
        tasks: growloop's names (with parameters after colons), groups, or any task of lm-eval.
        settings: fields of :class:`.evaluation_request.TaskSelection` and
            :class:`.evaluation_request.ScoringOptions`, and ``prepare``, such as
            ``shots=5, limit=100``.

    Raises:
        InputError: the evaluation cannot run; the message says why.

    Example::

        results = evaluate("./checkpoint", ["copying_real_words"], limit=100)
        results["results"]["copying_real_words"]["acc,none"]
    """
    return score(EvaluationRequest.of(model, tasks, schedules=None, **settings))[0]


def evaluate_schedules(
    model: str,
    tasks: Sequence[str],
    schedules: Callable[[Any], Sequence[Any]] | None,
    **settings: Any,
) -> list[dict[str, Any] | None]:
    """Score several schedules of a looped model in one pass; as :func:`evaluate` otherwise.

    Args:
        schedules: function from the loaded and prepared model to its schedules: ``Schedule``
            objects, or lists of layers. Steps that schedules share at the beginning run once.

    Returns:
        lm-eval's results per schedule, in the order given.

    Example::

        evaluate_schedules(
            "./checkpoint", ["copying_real_words"], lambda model: [model.schedule, [0, 1, 1, 2]]
        )
    """
    return score(EvaluationRequest.of(model, tasks, schedules=schedules, **settings))


def score(request: EvaluationRequest) -> list[dict[str, Any] | None]:
    """Run an evaluation; return lm-eval's results per schedule (one without ``schedules``).

    Results are None on all processes but the first.

    Raises:
        InputError: the evaluation cannot run; the message says why.
    """
    if request.source.loaded is not None:
        with same_random_state():
            return _score(request)
    return _score(request)


def _score(request: EvaluationRequest) -> list[dict[str, Any] | None]:
    evaluation = _Evaluation.of(request)
    lm, schedules = evaluation.lm, request.source.schedules
    if schedules is None:
        return [evaluation.run()]
    wanted = [_as_schedule(lm.model, schedule) for schedule in schedules(lm.model)]
    together = request.scoring.backend == "growloop"
    if together:
        lm.schedules = wanted
    results = []
    for number, schedule in enumerate(wanted):
        if together:
            lm.select(number)
        with lm.model.scheduled(schedule):
            results.append(evaluation.run())
    return results


@dataclass(frozen=True)
class _Evaluation:
    """Evaluation with its model loaded and its tasks built.

    Args:
        lm: lm-eval model.
        tasks: tasks, groups and names for ``simple_evaluate``.
        manager: lm-eval's task manager.
        harness: further arguments of ``simple_evaluate``.
        model_arguments: arguments that ``lm`` was made with.
        effects: forwarded options that change numbers, for the results.
        started: ``time.perf_counter`` before the model was loaded.
    """

    request: EvaluationRequest
    lm: Any
    tasks: list[Any]
    manager: Any
    harness: dict[str, Any]
    model_arguments: dict[str, Any]
    effects: dict[str, Any]
    started: float

    @classmethod
    def of(cls, request: EvaluationRequest) -> _Evaluation:
        """Check a request as a whole, then load its model and build its tasks."""
        source, selection, scoring = request.source, request.tasks, request.scoring
        plan = _plan(selection)
        arguments = {} if source.loaded is not None else model_arguments(source.name)
        local = source.loaded is not None or local_files(arguments) is not None
        options = forwarded(scoring.forwarded, local)
        to_harness = dict(options.harness)
        to_harness.pop("log_samples", None)  # scored with samples, which identify the questions
        include_path = to_harness.pop("include_path", None)
        metadata = to_harness.pop("metadata", {})
        _check_harness_options(to_harness, metadata, request, plan)
        require_extra()
        quiet()
        manager, theirs = no_tasks(), list[str]()
        if plan.theirs:
            manager, theirs = their_tasks(
                plan.theirs, metadata, selection.trust_task_code, include_path
            )
        started = time.perf_counter()
        effects = options.decisive()
        lm, arguments = _lm(source, scoring, arguments, options.model)
        if "use_cache" in to_harness:
            to_harness["use_cache"] = answers_file(to_harness["use_cache"], lm, arguments, effects)
        shots = SHOTS if selection.most_shots is None else selection.most_shots
        built = plan.build(
            selection.items, selection.seed, shots, selection.fixed_shots, selection.curve
        )
        num_fewshot = None if selection.curve else selection.shots
        to_simple_evaluate = {"num_fewshot": num_fewshot, "limit": selection.limit, **to_harness}
        tasks = [*built, *theirs]
        return cls(request, lm, tasks, manager, to_simple_evaluate, arguments, effects, started)

    def run(self) -> dict[str, Any] | None:
        """Score the tasks under the model's current schedule; None but on the first process."""
        lm, backend = self.lm, self.request.scoring.backend
        lm.notes.clear()
        results = harness(lm, self.tasks, self.manager, **self.harness)
        lm.notes.gather(lm.world_size)
        if results is None:
            return None
        results["config"] |= {
            "model": backend,
            "model_args": {**self.model_arguments},
            "dtype": str(lm.model.dtype),
        }
        note_prompting(results, lm, self.harness)
        results["growloop"] = {
            "seconds": round(time.perf_counter() - self.started, 1),
            "backend": backend,
            "options": self.effects,
        }
        if backend == "hf" and lm.world_size > 1:
            results["growloop"]["processes"] = lm.world_size  # they draw other examples
        results["growloop"] |= lm.notes.to_dict()
        if schedule := getattr(lm.model, "schedule", None):  # a looped model
            results["growloop"]["schedule"] = str(schedule)
        return results


def _lm(
    source: ModelSource,
    scoring: ScoringOptions,
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """Load a model, or wrap a twin of a loaded one; return it with what identifies it.

    Args:
        arguments: where the model is (:func:`.loading.model_arguments`).
        options: options for lm-eval's model.
    """
    arguments = {**arguments, "batch_size": scoring.batch_size, **options}
    if source.loaded is None:
        arguments |= {"dtype": scoring.dtype, "device": scoring.device or best_device()}
        lm = load_model(source.name, scoring.backend, arguments, source.prepare, scoring.pack)
        return lm, arguments
    check_loaded_options(scoring.device, scoring.dtype, options)
    lm = wrap_loaded(source.loaded, source.tokenizer, scoring.backend, arguments, scoring.pack)
    if source.prepare is not None:
        source.prepare(lm.model)
    check_start(lm.model)
    return lm, {"pretrained": source.name, "device": str(lm.device), **arguments}


def _plan(selection: TaskSelection) -> Plan:
    """Resolve task names; refuse what the tasks do not have."""
    plan = Plan(selection.params)
    for name in selection.names:
        plan.add(name)
    plan.check()
    if selection.curve and plan.theirs:
        raise InputError(f"a curve over shots is for tasks of growloop, not {plan.theirs[0]}")
    shots = SHOTS if selection.most_shots is None else selection.most_shots
    check_sizes(list(plan.ours.values()), selection.items, selection.seed, shots)
    return plan


def _check_harness_options(
    options: Mapping[str, Any], metadata: object, request: EvaluationRequest, plan: Plan
) -> None:
    """Refuse options of ``simple_evaluate`` that do not go with the rest of the request."""
    if request.source.schedules is not None and options.get("use_cache"):
        raise InputError(
            "--use_cache does not tell schedules apart: score one at a time, each with its own"
        )
    if metadata and not plan.theirs:
        raise InputError("--metadata is for lm-eval's own tasks: use --param for growloop's")
    if request.tasks.limit is not None and "samples" in options:
        raise InputError("--samples says which questions, --items how many: give one of them")


def _as_schedule(model: Any, schedule: Any) -> Any:
    """Convert a list of layers to the schedule type of a looped model."""
    kind = type(model.schedule)
    return schedule if isinstance(schedule, kind) else kind(tuple(schedule))


def note_prompting(results: dict[str, Any], lm: Any, options: Mapping[str, Any]) -> None:
    """Add chat template and system instruction to lm-eval's results, as it does itself.

    Args:
        results: results, changed in place.
        lm: lm-eval model.
        options: arguments of ``simple_evaluate``.
    """
    chat = options.get("apply_chat_template", False)
    texts = {
        "system_instruction": options.get("system_instruction"),
        "chat_template": lm.chat_template(chat) if chat else None,
    }
    for name, text in texts.items():
        results[name] = text
        results[f"{name}_sha"] = hashlib.sha256(text.encode()).hexdigest() if text else None
    results["fewshot_as_multiturn"] = bool(chat) and options.get("fewshot_as_multiturn", True)


def quiet() -> None:
    """Silence library warnings, except those that change what a number means."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    translate()
    for name in ("transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def harness(lm: Any, tasks: list[Any], manager: Any, **options: Any) -> dict[str, Any] | None:
    """Call lm-eval's ``simple_evaluate``; None on all processes but the first.

    Args:
        lm: lm-eval model.
        tasks: tasks, groups and names.
        manager: lm-eval's task manager.
        options: further arguments of ``simple_evaluate``.

    Raises:
        InputError: lm-eval failed; the message is the first line of its error.
    """
    from datasets.exceptions import DatasetsError
    from jinja2 import TemplateError
    from lm_eval import evaluator, simple_evaluate

    evaluator.get_git_commit_hash = commit  # its own lets git complain outside of a repository
    try:
        results: dict[str, Any] | None = simple_evaluate(
            model=lm, tasks=tasks, task_manager=manager, **options
        )
    except InputError:
        raise
    except (AttributeError, IndexError, TypeError) as error:
        files = [task for task in tasks if isinstance(task, str) and Path(task).is_file()]
        if not files and isinstance(error, TypeError):  # a bad option
            raise InputError(f"lm-eval: {first_sentence(error)}") from error
        if not files:
            raise  # a bug, not a bad file
        raise InputError(
            f"lm-eval cannot use {', '.join(files)}: {first_sentence(error)}"
        ) from error
    except (
        OSError,
        ImportError,
        ValueError,
        KeyError,
        DatasetsError,
        TemplateError,
        _out_of_memory(),
    ) as error:
        # lm-eval's tasks raise any of these for missing data, extras and bad options
        raise InputError(f"lm-eval: {first_sentence(error)}") from error
    return results if first() else None


def commit() -> str | None:
    """Return ``git describe`` of the working folder; None outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always"], capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return None
    return done.stdout.strip() or None


def _out_of_memory() -> type[Exception]:
    """Return torch's exception for a device that is out of memory."""
    import torch

    error: type[Exception] = torch.OutOfMemoryError
    return error
