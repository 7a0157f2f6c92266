"""Evaluation of a model on tasks: a checkpoint by name, or a model that is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, shown, whole
from ..core.schedule import Schedule
from ..tasks.catalog import ITEMS
from ..tasks.evaluation_request import EvaluationRequest, ModelSource, ScoringOptions, TaskSelection
from ..tasks.forwarded import forwarded
from ..tasks.loading import require_extra
from .evaluation_result import EvaluationResult

if TYPE_CHECKING:
    from ..leaderboard import Store

COMMAND = "growloop.evaluate"
"""Command in records of evaluations from Python."""
TASKS = "reasoning_primitives"


def evaluate(
    model: Any,
    tasks: str | Sequence[str] = TASKS,
    *,
    tokenizer: Any = None,
    shots: int | Sequence[int] | None = None,
    schedule: Schedule | str | Sequence[int] | None = None,
    repeat: tuple[int, int] | None = None,
    times: int | Sequence[int] | None = None,
    items: int | None = None,
    limit: int | None = None,
    params: Mapping[str, object] | None = None,
    fixed_shots: bool = False,
    seed: int = 0,
    trust_task_code: bool = False,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int | str = 1,
    backend: str = "growloop",
    pack: int | None = None,
    out: str | Path | None = None,
    leaderboard: str | Path | None = None,
    name: str | None = None,
    command: str = COMMAND,
    **options: Any,
) -> EvaluationResult:
    """Score a model on tasks; ``growloop eval`` prints this result.

    A loaded model stays as it is: its training mode, schedule, config, device and dtype, and the
    state of the random generators. A plain one is scored looped for this call by ``schedule``.

    Args:
        model: hub id, folder, GGUF file or ``package:NAME``; or a loaded model of transformers.
        tasks: names in a list or separated by commas: growloop's (with parameters after colons),
            groups, or any task of lm-eval.
        tokenizer: tokenizer of a loaded model; of a checkpoint the folder or hub id of another one
            than its own.
        shots: examples before each question, by default each task's own number; several numbers
            make a curve over examples.
        schedule: schedule that the layers run by, in any notation.
        repeat: block ``(start, stop)`` of steps that runs again.
        times: extra passes of the block (1 by default); several numbers are scored in one pass.
        items: questions a task; by default 1,000 of growloop's tasks, all of lm-eval's.
        limit: most questions of any task, where it is not ``items``.
        params: parameters for all of growloop's tasks that have them.
        fixed_shots: the same examples before every question.
        seed: seed of test items and examples.
        trust_task_code: run the code that task files given by path name.
        device, dtype, batch_size: as lm-eval's; a loaded model is scored as it is.
        backend: ``growloop`` (shared prefixes run once) or ``hf`` (lm-eval's own).
        pack: tokens a forward pass of ``growloop``; by default what suits the device.
        out: folder for lm-eval's result files and samples; None writes none.
        leaderboard: folder of records to add the results to.
        name: name of the model in results and records.
        command: command stored in results.
        options: options of lm-eval, as docs/evaluation.md lists them.

    Raises:
        InputError: the evaluation cannot run; the message says why.

    Example::

        result = growloop.evaluate(model, "copying_real_words", tokenizer=tokenizer, items=100)
        result["copying_real_words"].value   # accuracy
        result.items.to_pandas()             # answer and log-probabilities of each question
    """
    require_extra("eval", "scoring a model")
    names = task_list(tasks)
    if params is not None and not isinstance(params, Mapping):
        raise InputError(f"params maps names to values, not {shown(params)}")
    numbers = whole_numbers("times", times)
    if isinstance(tokenizer, str):  # lm-eval's option: another one than the checkpoint's
        tokenizer, options = None, options | {"tokenizer": tokenizer}
    source = model_source(model, tokenizer, schedule, repeat, numbers, name)
    selection = TaskSelection(
        names,
        params=params or {},
        shots=_one_or_curve(whole_numbers("shots", shots)),
        fixed_shots=fixed_shots,
        limit=limit_of(items, names, params or {}) if limit is None else limit,
        count=ITEMS if items is None else items,
        seed=seed,
        trust_task_code=trust_task_code,
    )
    scoring = ScoringOptions(device, dtype, batch_size, backend, pack, options)
    store = check_outputs(source, out, leaderboard, name)
    request = EvaluationRequest(source, selection, scoring)
    several = numbers if numbers is not None and len(numbers) > 1 else None
    return _score(request, several, out, store, name, command)


def task_list(tasks: Any) -> list[str]:
    """Return names of tasks, given in a list or separated by commas.

    Raises:
        InputError: the result is not text.
    """
    if isinstance(tasks, str):
        return [part.strip() for part in tasks.split(",") if part.strip()]
    if not isinstance(tasks, (list, tuple)) or not all(isinstance(t, str) for t in tasks):
        raise InputError(f"tasks are names in a list or separated by commas, not {shown(tasks)}")
    return [name for name in tasks if name]


def model_source(
    model: Any,
    tokenizer: Any = None,
    schedule: Schedule | str | Sequence[int] | None = None,
    repeat: tuple[int, int] | None = None,
    times: Sequence[int] | None = None,
    name: str | None = None,
) -> ModelSource:
    """Make the source of a checkpoint or of a loaded model, looped by the given schedule.

    Args: as of :func:`evaluate`.

    Raises:
        InputError: a schedule that cannot be parsed, or a model that cannot be scored.
    """
    from ..models.looping.requested import looping, repeated_blocks

    if model is None:
        raise InputError("no model: give a name, a folder or a loaded model, not None")
    if repeat is not None and (not isinstance(repeat, (tuple, list)) or len(repeat) != 2):
        raise InputError(f"repeat is a pair (start, stop), not {shown(repeat)}")
    if times is not None and (len(times) > 1 or list(times) == [0]):
        change: dict[str, Any] = {"schedules": repeated_blocks(schedule, repeat, times)}
    else:
        change = {"prepare": looping(schedule, repeat, times[0] if times else None)}
    if isinstance(model, (str, Path)):
        if tokenizer is not None:
            raise InputError("a tokenizer is given with a loaded model; this one is loaded by name")
        return ModelSource(str(model), **change)
    return ModelSource(name or _name_of(model), loaded=model, tokenizer=tokenizer, **change)


def _name_of(model: Any) -> str:
    """Return the name of a loaded model: the end of the place it came from, or its class."""
    place = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
    return Path(place).name or type(model).__name__


def whole_numbers(what: str, numbers: int | Sequence[int] | None) -> list[int] | None:
    """Check one or several numbers; return them ascending, or None.

    Raises:
        InputError: no whole numbers of 0 or more, none at all, or one twice.
    """
    if numbers is None:
        return None
    listed = isinstance(numbers, (list, tuple, range))
    several: list[Any] = list(numbers) if listed else [numbers]  # type: ignore[arg-type]
    for number in several:
        whole(what, number, 0)
    if not several or len(set(several)) < len(several):
        raise InputError(f"{what} takes numbers that differ, such as [0, 1, 2, 4]")
    return sorted(several)


def _one_or_curve(numbers: list[int] | None) -> int | list[int] | None:
    return numbers[0] if numbers is not None and len(numbers) == 1 else numbers


def limit_of(items: int | None, names: Sequence[str], params: Mapping[str, object]) -> int | None:
    """Return the number of questions to score: ``items``, if there are tasks of lm-eval."""
    if items is None:
        return None
    from ..tasks.scoring.planning import Plan

    plan = Plan(params)
    for name in names:
        plan.add(name)
    return items if plan.theirs else None


def check_outputs(
    source: ModelSource,
    out: str | Path | None,
    leaderboard: str | Path | None,
    name: str | None = None,
) -> Store | None:
    """Check name, folder and leaderboard before the slow part; return the store for records.

    Raises:
        InputError: a name that no record can have, a folder that cannot be written or is not
            a store, records of a loaded model.
    """
    from ..leaderboard import Store
    from ..studies.describe import checked_name
    from ..tasks.results import check_out

    checked_name(name)
    if out is not None:
        check_out(out)
    if leaderboard is None:
        return None
    if source.loaded is not None:
        raise InputError(
            "records identify a model by its files: save the loaded model, and evaluate its folder"
        )
    require_extra("leaderboard", "a leaderboard")
    store = Store(str(leaderboard))
    store.scan()
    return store


def samples_of(request: EvaluationRequest) -> bool:
    """Return whether the samples are written: lm-eval's ``log_samples`` and ``predict_only``."""
    given = forwarded(request.scoring.forwarded).harness
    return bool(given.get("log_samples", True) or given.get("predict_only", False))


def _score(
    request: EvaluationRequest,
    repeats: Sequence[int] | None,
    out: str | Path | None,
    store: Store | None,
    name: str | None,
    command: str,
) -> EvaluationResult:
    """Score, and write results and records; no results but on the first process."""
    from ..leaderboard.harness import records
    from ..studies.describe import Recorder
    from ..tasks.evaluate import score
    from ..tasks.results import save

    source = request.source
    recorder = Recorder(source.name, source.prepare, name, source.loaded is None)
    request = replace(request, source=replace(source, prepare=recorder))
    found: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    files: list[Path] = []
    added = 0
    for results in score(request):
        if results is None:  # not the first of several processes
            break
        recorder.note(results)
        samples.append(results.get("samples", {}))
        file = None
        if out is None:
            results.pop("samples", None)
            results["growloop"] |= {"command": command}
        else:
            paths = save(results, source.name, out, command, samples_of(request))
            file = next(path.name for path in paths if path.name.startswith("results"))
            files += paths
        found.append(results)
        if store is not None:
            added += store.add(records(results, file))
    return EvaluationResult(
        source.name,
        tuple(found),
        tuple(samples),
        curve=tuple(request.tasks.curve),
        repeats=None if repeats is None else tuple(repeats),
        files=tuple(files),
        added=added if store is not None else None,
    )
