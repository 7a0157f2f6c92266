"""Scores a model on tasks through lm-eval: what ``growloop eval`` does.

Our tasks are built here, with any parameters; everything else is lm-eval's. Options that are
not ours are those of the table in :mod:`..core.lm_eval_options`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError, unknown, whole
from .answers import answers_file
from .catalog import ITEMS, SHOTS, check_params
from .forwarded import forwarded
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
    "Plan",
    "Settings",
    "best_device",
    "check_device",
    "evaluate",
    "evaluate_schedules",
    "harness",
    "load_model",
    "model_arguments",
    "quiet",
    "require_extra",
    "unknown_task",
]


@dataclass(frozen=True)
class Settings:
    """What is asked of a model, and how: the options of :func:`evaluate`.

    Args:
        params: parameters for all our tasks that have them.
        shots: examples before each question; by default what each task says (ours: 5). Several
            numbers make a curve: each of our tasks once for each number, as ``name@number``,
            the examples of fewer being the first of those of more.
        fixed_shots: the same examples before every question, instead of new ones for each.
        limit: score only so many questions a task.
        count: test items of our tasks.
        seed: which test items and examples are drawn.
        device, dtype, batch_size: as lm-eval's.
        backend: ``growloop`` runs what requests have in common once, ``hf`` is lm-eval's own;
            both give the same numbers.
        pack: tokens run at once by ``growloop``; by default what suits the device.
        prepare: changes the loaded Hugging Face model in place, e.g. loops its layers.
        forwarded: options of lm-eval by name, those of the table in docs/evaluation.md.
        trust_task_code: let task files given by path run the code that they name.

    Raises:
        InputError: a value that is not allowed.
    """

    params: Mapping[str, object] | None = None
    shots: int | Sequence[int] | None = None
    fixed_shots: bool = False
    limit: int | None = None
    count: int = ITEMS
    seed: int = 0
    device: str | None = None
    dtype: str = "auto"
    batch_size: int | str = 1
    backend: str = "growloop"
    pack: int | None = None
    prepare: Callable[[Any], object] | None = None
    forwarded: Mapping[str, Any] | None = None
    trust_task_code: bool = False

    def __post_init__(self) -> None:
        whole("items", self.count, 1, 10**7)
        if isinstance(self.shots, Sequence) and (
            not self.shots or len(set(self.shots)) < len(self.shots)
        ):
            raise InputError("--shots takes numbers that differ, such as 0,1,2,4")
        for number in self.curve or ([] if self.most is None else [self.most]):
            whole("shots", number, 0, 10**5)
        if self.limit is not None:
            whole("limit", self.limit, 1, 10**9)
        if self.pack is not None:
            whole("tokens at once (--pack)", self.pack, 16, 10**7)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)
        check_params(self.params or {})

    @property
    def curve(self) -> list[int]:
        """Numbers of examples, where there are several."""
        return sorted(self.shots) if isinstance(self.shots, Sequence) else []

    @property
    def most(self) -> int | None:
        """The number of examples, of a curve the last."""
        return max(self.shots) if isinstance(self.shots, Sequence) else self.shots


def evaluate(model: str, tasks: Sequence[str], **settings: Any) -> dict[str, Any] | None:
    """Score a model; lm-eval's results, or None on all processes but the first.

    Args:
        model: hub id, local folder, GGUF file, or ``package:NAME`` (see :func:`model_arguments`).
        tasks: our names (with parameters after colons), groups, or any task of lm-eval.
        settings: those of :class:`Settings`, such as ``shots=5, limit=100``.

    Raises:
        InputError: with what cannot be done and why.
    """
    return evaluate_schedules(model, tasks, None, **settings)[0]


def evaluate_schedules(
    model: str,
    tasks: Sequence[str],
    schedules: Callable[[Any], Sequence[Any]] | None,
    **settings: Any,
) -> list[dict[str, Any] | None]:
    """As :func:`evaluate`, for several schedules of a looped model in one pass.

    Args:
        schedules: of the model that was loaded and prepared, which to score: ``Schedule`` objects,
            or lists of layers. What schedules begin with in common runs once.

    Returns:
        The results of each, in the order given.
    """
    if not tasks:
        raise InputError("no tasks given: try --tasks reasoning_primitives")
    given = Settings(**settings)
    plan = Plan(given.params or {})
    for name in tasks:
        plan.add(name)
    plan.check()
    if given.curve and plan.theirs:
        raise InputError(f"a curve over shots is for tasks of growloop, not {plan.theirs[0]}")
    drawn = SHOTS if given.most is None else given.most
    check_sizes(list(plan.ours.values()), given.count, given.seed, drawn)
    arguments = model_arguments(model)
    options = forwarded(given.forwarded or {}, local_files(arguments) is not None)
    to_harness = dict(options.harness)
    if schedules is not None and to_harness.get("use_cache"):
        raise InputError("--use_cache knows no schedules: score one at a time, each with its own")
    metadata = to_harness.pop("metadata", {})
    if metadata and not plan.theirs:
        raise InputError("--metadata is for lm-eval's own tasks: give ours --param")
    if given.limit is not None and "samples" in to_harness:
        raise InputError("--samples says which questions, --limit how many: give one of them")
    require_extra()
    quiet()
    manager, theirs = no_tasks(), list[str]()
    if plan.theirs:
        manager, theirs = their_tasks(plan.theirs, metadata, given.trust_task_code)
    arguments |= {"dtype": given.dtype, "batch_size": given.batch_size, **options.model}
    arguments["device"] = given.device or best_device()
    started = time.perf_counter()
    decisive = options.decisive()
    lm = load_model(model, given.backend, arguments, given.prepare, given.pack)
    if "use_cache" in to_harness:
        to_harness["use_cache"] = answers_file(to_harness["use_cache"], lm, arguments, decisive)
    built = plan.build(given.count, given.seed, drawn, given.fixed_shots, given.curve)

    def run() -> dict[str, Any] | None:
        lm.notes.clear()
        shots = {"num_fewshot": None if given.curve else given.shots}
        asked = {**shots, "limit": given.limit, **to_harness}
        results = harness(lm, [*built, *theirs], manager, **asked)
        lm.notes.gather(lm.world_size)
        if results is None:
            return None
        results["config"] |= {
            "model": given.backend,
            "model_args": {**arguments},
            "dtype": str(lm.model.dtype),
        }
        note_prompting(results, lm, to_harness)
        results["growloop"] = {
            "seconds": round(time.perf_counter() - started, 1),
            "backend": given.backend,
            "options": decisive,
        }
        if given.backend == "hf" and lm.world_size > 1:
            results["growloop"]["processes"] = lm.world_size  # which draw other examples
        results["growloop"] |= lm.notes.to_dict()
        if schedule := getattr(lm.model, "schedule", None):  # a looped model
            results["growloop"]["schedule"] = str(schedule)
        return results

    if schedules is None:
        return [run()]
    wanted = [_as_schedule(lm.model, schedule) for schedule in schedules(lm.model)]
    found = []
    if given.backend == "growloop":
        lm.schedules = wanted
    for number, schedule in enumerate(wanted):
        if given.backend == "growloop":
            lm.select(number)
        with lm.model.scheduled(schedule):
            found.append(run())
    return found


def _as_schedule(model: Any, schedule: Any) -> Any:
    """A schedule of the kind that a looped model has."""
    kind = type(model.schedule)
    return schedule if isinstance(schedule, kind) else kind(tuple(schedule))


def note_prompting(results: dict[str, Any], lm: Any, options: Mapping[str, Any]) -> None:
    """Note in lm-eval's results which chat template and instruction were used, as it does itself.

    Args:
        options: of the harness.
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
    """Keep the libraries' warnings from the user, but for those that change a number's meaning."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    translate()
    for name in ("transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def harness(lm: Any, tasks: list[Any], manager: Any, **options: Any) -> dict[str, Any] | None:
    """lm-eval's ``simple_evaluate``, with what goes wrong in it as one sentence.

    None on all processes but the first.
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
    except (
        OSError,
        ImportError,
        ValueError,
        KeyError,
        TypeError,
        DatasetsError,
        TemplateError,
        _out_of_memory(),
    ) as error:
        # lm-eval's tasks fail on missing data, extras and options in ways of their own
        raise InputError(f"lm-eval: {first_sentence(error)}") from error
    return results if first() else None


def commit() -> str | None:
    """What git calls the state of the working folder; None outside of a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always"], capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return None
    return found.stdout.strip() or None


def _out_of_memory() -> type[Exception]:
    """What torch raises when a device's memory does not suffice."""
    import torch

    found: type[Exception] = torch.OutOfMemoryError
    return found
