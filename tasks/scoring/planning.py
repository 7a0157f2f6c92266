"""Resolution of task names that a user gave into lm-eval tasks and groups."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import InputError, shown
from ...primitives import STANDARD, Source, Task
from ...primitives.uniqueness import check_capacity
from ..catalog import GROUPS, PATH, check_params, resolve
from ..documents import config, pool_size
from ..results import AT
from ..trust import is_trusted, refuse_code, sandbox


class Plan:
    """lm-eval tasks and groups of an evaluation.

    Args:
        params: parameters for all tasks that have them.

    Attributes:
        ours: label -> task of growloop.
        groups: label -> labels of the members.
        theirs: names left to lm-eval.
    """

    def __init__(self, params: Mapping[str, object]) -> None:
        self.params = params
        self.ours: dict[str, Task] = {}
        self.groups: dict[str, list[str]] = {}
        self.theirs: list[str] = []

    def add(self, name: str) -> None:
        """Add a task, a group, a pattern, or a name of lm-eval's.

        Raises:
            InputError: an unknown parameter, or a group with two equal members.
        """
        group, *pairs = name.split(":")
        if group in GROUPS:
            label = ":".join([group, *pairs, *(f"{k}={v}" for k, v in self.params.items())])
            params = dict(pair.partition("=")[::2] for pair in pairs)
            check_params(params)
            members = [self._add(member, params) for member in GROUPS[group]]
            if len(set(members)) < len(members):
                raise InputError(f"with these parameters two tasks of {group} are the same")
            self.groups[label] = members
        elif matches := fnmatch.filter(STANDARD, name) if set(name) & set("*?[") else []:
            for member in matches:
                self.add(member)
        elif (task := resolve(name, self.params)) is not None:
            self.ours[task.label] = task
        else:
            self.theirs.append(name)

    def check(self) -> None:
        """Refuse groups that share a task, and parameters that no chosen task has.

        Raises:
            InputError: naming them.
        """
        grouped = [member for members in self.groups.values() for member in members]
        if len(set(grouped)) < len(grouped):
            raise InputError("two of the groups share a task: score them one after the other")
        known = {
            field.name
            for task in self.ours.values()
            for field in dataclasses.fields(task)  # type: ignore[arg-type]
        }
        for name in self.params:
            if name not in known:
                raise InputError(f"none of the chosen tasks has a parameter {shown(name)}")

    def _add(self, member: str, params: Mapping[str, object]) -> str:
        task = resolve(member, {**self.params, **params})
        assert task is not None  # groups hold only our tasks
        self.ours[task.label] = task
        return task.label

    def build(
        self, count: int, seed: int, shots: int, fixed: bool, curve: Sequence[int] = ()
    ) -> list[Any]:
        """Build our tasks for ``lm_eval.simple_evaluate``: groups, and tasks in no group.

        Args:
            count: test items per task.
            seed: seed of the items.
            shots: few-shot examples.
            fixed: whether all questions have the same examples.
            curve: numbers of examples; everything is built once for each, as ``name@number``.
        """
        from lm_eval.api.group import AggMetricConfig, Group

        mean = AggMetricConfig(metric="acc", aggregation="mean", weight_by_size=False)
        tasks: list[Any] = []
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
                tasks.append(group)
            tasks += [task for label, task in built.items() if label not in grouped]
        return tasks


def _task(fields: dict[str, Any], shots: int | None, fixed: bool) -> Any:
    """Make an lm-eval task; in a curve, one with ``shots`` nested examples."""
    from lm_eval.api.task import ConfigurableTask

    from ..shots import NestedSampler, NestedTask

    if shots is None:
        return ConfigurableTask(config=fields)
    if not fixed:
        fields["fewshot_config"] = {**fields["fewshot_config"], "sampler": NestedSampler}
    return NestedTask(config=fields | {"num_fewshot": shots})


def their_tasks(
    names: list[str],
    metadata: dict[str, Any],
    trust_code: bool = False,
    include_path: str | None = None,
) -> tuple[Any, list[str]]:
    """Return lm-eval's task manager, and lm-eval's names for ``names``, with patterns expanded.

    Args:
        trust_code: whether task files among ``names`` and in ``include_path`` may run code.
        include_path: folder of further task files, whose tasks replace lm-eval's of the same name.

    Raises:
        InputError: an unknown task; a file that names code and is not trusted; no such folder.
    """
    if include_path is not None and not Path(include_path).is_dir():
        raise InputError(f"--include_path {include_path} is not a folder")
    files = [name for name in names if Path(name).is_file()]
    plain = include_path is None and not metadata
    manager = _every_task_as_it_is() if plain else _every_task(metadata, include_path)
    expanded: list[str] = []
    for name in names:
        matching = [name] if name in files else manager.match_tasks([name])
        if not matching:
            raise unknown_task(name, manager.all_tasks)
        expanded += matching
    outside = [*files, *(f for f in _files_of(manager.task_index, expanded) if not is_trusted(f))]
    if not trust_code:
        refuse_code(outside)
    sandbox(trusted=trust_code or not outside)
    return manager, expanded


def _every_task(metadata: dict[str, Any], include_path: str | None = None) -> Any:
    """Make a task manager of lm-eval's tasks and ours; reading their index takes seconds."""
    from lm_eval.tasks import TaskManager

    folders = [str(PATH), *([] if include_path is None else [include_path])]
    return TaskManager(include_path=folders, metadata=metadata)


@functools.cache
def _every_task_as_it_is() -> Any:
    """Make the task manager without metadata once a process: each evaluation of a run needs it."""
    return _every_task({})


def _files_of(index: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the files of tasks, and of the members of groups and tags.

    Args:
        index: lm-eval's index of tasks by name.
    """
    files: dict[str, None] = {}
    waiting, seen = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        entry = index.get(name)
        if entry is None or name in seen:
            continue
        seen.add(name)
        if entry.yaml_path is not None:
            files[str(entry.yaml_path)] = None
        waiting += [other for other, one in index.items() if name in one.tags]
        waiting += _members((entry.cfg or {}).get("task"))
    return list(files)


def _members(value: Any) -> list[str]:
    """Return the names in the ``task`` of a group's configuration, however nested."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return _members(value.get("task")) + _members(value.get("group"))
    return [name for part in value for name in _members(part)] if isinstance(value, list) else []


def no_tasks() -> Any:
    """Make a task manager without lm-eval's task index, which takes a while to build."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False)


def unknown_task(name: str, known: Sequence[str]) -> InputError:
    """Make the error for a task that neither growloop nor lm-eval has."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"unknown task '{name}':{hint} (growloop tasks lists ours)")


def check_sizes(tasks: Sequence[Task], count: int, seed: int, shots: int) -> None:
    """Refuse counts and shots that a task has too few items for.

    Raises:
        InputError: naming the task.
    """
    for task in tasks:
        check_capacity(Source(task, "test", seed), count)
        if shots >= (pool := pool_size(task, shots)):
            raise InputError(f"{task.label} has {pool} examples to draw shots from, not {shots}")
